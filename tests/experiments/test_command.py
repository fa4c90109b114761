"""The commands `queue` and `table`: what they queue, tell and write, and how they end."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from ucc.errors import UserError
from ucc.experiments import __main__ as command
from ucc.experiments.identity import PLACES, flatten
from ucc.experiments.plan import Plan, read_plan

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("repository")
def test_only_what_is_neither_done_nor_waiting_is_queued(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, ...]] = []

    def dvc(*arguments: str) -> str:
        calls.append(arguments)
        return f"Task Name Created Status\n1234567 {plan.runs[1].name} 10:32 PM Queued\n"

    monkeypatch.setattr(command, "_dvc", dvc)
    command.queue(plan)
    assert calls[0] == ("queue", "status")
    assert [call[4] for call in calls[1:]] == [run.name for run in plan.runs[2:]]
    assert all(call[:4] == ("exp", "run", "--queue", "--name") for call in calls[1:])
    assert "train.seed=2" in calls[1]
    shown = capsys.readouterr().out
    assert f"done     {plan.runs[0].name}: mIoU 44.50" in shown
    assert f"waiting  {plan.runs[1].name}" in shown
    assert "10 of 12 runs queued" in shown


@pytest.mark.usefixtures("repository")
def test_a_run_that_two_tables_share_is_queued_once(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = plan.runs[1:3]
    elsewhere = one.name.replace("methods", "components")
    again = replace(two, name=two.name.replace("supervised", "baseline"))
    queued: list[str] = []

    def dvc(*arguments: str) -> str:
        queued.extend(arguments[4:5])
        return f"Task Name Created Status\n1234567 {elsewhere} 10:32 PM Queued\n"

    monkeypatch.setattr(command, "_dvc", dvc)
    command.queue(replace(plan, runs=(one, two, again)))
    assert queued == [two.name]
    shown = capsys.readouterr().out
    assert f"waiting  {one.name}: the same run as {elsewhere}\n" in shown
    assert f"waiting  {again.name}: the same run as {two.name}\n" in shown


@pytest.mark.usefixtures("repository")
def test_what_waits_and_is_no_longer_asked_for_is_told(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not what another file asks for, whose name may begin alike, nor what has begun."""
    asked = plan.runs[1].name
    before, gone = "methods-supervised-1-16-s1-0a1b2c", "methods-mean-teacher-1-8-s0-3d4e5f"
    others = ("methods-longer-ucc-1-8-s0-aaaaaa", "components-ucc-1-8-s0-bbbbbb", "methods-ucc-1-8-s0-cccccc")
    rows = [f"1234567 {name} 10:32 PM Queued" for name in (asked, before, *others[:2], gone)]
    rows += [f"1234567 {others[2]} 10:32 PM Running", "", "Worker status: 1 active, 0 idle", ""]
    monkeypatch.setattr(command, "_dvc", lambda *_: "\n".join(rows))
    shutil.copy(tmp_path / "methods.yaml", tmp_path / "methods_longer.yaml")
    command.queue(read_plan(tmp_path / "methods.yaml"))
    told = capsys.readouterr().err
    assert told.startswith("note: waiting in the queue, though methods.yaml, as it is now asked for, does not ask")
    assert told.endswith(f": {before}, {gone}. To take them out: dvc queue remove {before} {gone}\n")
    assert not any(name in told for name in (asked, *others))


def test_ctrl_c_waits_until_dvc_has_put_back_what_it_stashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "Path('stashed').touch()\n"
        "time.sleep(0.8)  # longer than subprocess.run waits before it kills\n"
        "Path('put_back').write_text(str(os.getsid(0)))\n"
    )
    monkeypatch.chdir(tmp_path)

    def interrupt() -> None:
        while not Path("stashed").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    terminal = threading.Thread(target=interrupt, daemon=True)
    terminal.start()
    with pytest.raises(KeyboardInterrupt):
        command._dvc("exp", "run")
    terminal.join()
    assert Path("put_back").exists()
    assert int(Path("put_back").read_text()) != os.getsid(0)


def test_what_dvc_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.py").write_text("import sys\nprint('shown')\nsys.exit('ERROR: no' if 'exp' in sys.argv else 0)\n")
    monkeypatch.chdir(tmp_path)
    assert command._dvc("queue", "status") == "shown\n"
    with pytest.raises(UserError, match=r"^dvc exp run failed: ERROR: no$"):
        command._dvc("exp", "run", "--queue")


def test_the_command_writes_its_files(plan: Plan, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.table(plan)
    written = {path.name for path in (repository / "results").iterdir()}
    assert written == {f"methods.{kind}" for kind in ("md", "csv", "svg", "params.yaml", "table.csv")}
    assert "11 runs are missing" in capsys.readouterr().out
    rows = (repository / "results/methods.csv").read_text().splitlines()
    assert rows[0].startswith("arm,column,seed,head_1")
    assert rows[1].startswith("supervised,1/16,0,44.5,,,45.1235,")
    assert len(rows) == 13
    summary = (repository / "results/methods.table.csv").read_text().splitlines()
    assert summary[0] == "arm,column,mean,sd,runs,seeds,paper"
    assert summary[1] == "supervised,1/16,,,1,3,"


@pytest.mark.usefixtures("repository")
def test_the_exact_parameters_of_every_run_stand_beside_the_table(plan: Plan) -> None:
    command.table(plan)
    written = yaml.safe_load(Path("results/methods.params.yaml").read_text())
    for run in plan.runs:
        found = written["common"] | written["runs"][run.name]
        wanted = {key: value for key, value in flatten(asdict(run.params)).items() if key not in PLACES}
        assert found == wanted
    assert set(written["runs"][plan.runs[0].name]) == {"method.name", "partition.ratio", "train.seed"}


@pytest.mark.usefixtures("plan")
def test_what_the_machine_refuses_is_one_line(tmp_path: Path, repository: Path) -> None:
    (repository / "results").write_text("a file")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    arguments = ["-m", "ucc.experiments", "table", str(tmp_path / "methods.yaml")]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: results: is a file where a folder is needed; move or remove it and run again.\n"
