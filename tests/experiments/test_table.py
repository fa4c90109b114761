"""From experiments in git to the table, and what gets queued."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from ucc.config import Params
from ucc.errors import UserError
from ucc.experiments import __main__ as command
from ucc.experiments.content import Paper
from ucc.experiments.done import done_runs
from ucc.experiments.dvc_text import parse_yaml
from ucc.experiments.finished import Finished, finished_runs, queued_runs
from ucc.experiments.identity import PLACES, flatten, identity
from ucc.experiments.plan import Plan, read_plan
from ucc.experiments.plot import LEAST_SPAN, draw, plot
from ucc.experiments.recorded import lost_rows, recorded_runs
from ucc.experiments.table import cell_rows, cells, markdown, require_same_data, run_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    content = {
        "title": "Two methods",
        "params": str(ROOT / "presets/streets.yaml"),
        "arms": {"supervised": {"method.name": "supervised"}, "ucc": {"method.name": "ucc"}},
        "columns": {"1/16": {"partition.ratio": "1/16"}, "1/8": {"partition.ratio": "1/8"}},
        "seeds": [0, 1, 2],
        "paper": {"protocol": {"partition.ratio": "1/8"}, "figures": {"ucc": {"1/16": 76.02, "1/8": 77.6}}},
    }
    path = tmp_path / "methods.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_plan(path)


def results(plan: Plan, leave_out: tuple[str, str, int] | None = None) -> dict[str, Finished]:
    """mIoU 40 + seed for supervised, 50 + seed for ucc."""
    return {
        identity(asdict(run.params)): Finished(
            run.name,
            "0123456789",
            "aaaa",
            "cafe",
            {"head_1": (50.0 if run.arm == "ucc" else 40.0) + run.seed}
            | ({"head_2": 51.0 + run.seed} if run.arm == "ucc" else {}),
            {50: {"more_certain": 60.0}} if run.arm == "ucc" else {},
        )
        for run in plan.runs
        if (run.arm, run.column, run.seed) != leave_out
    }


def test_a_cell_is_mean_and_sample_deviation_over_the_seeds(plan: Plan) -> None:
    table = {(c.arm, c.column): c for c in cells(plan, results(plan))}
    assert table["ucc", "1/8"].values == (50, 51, 52)
    assert table["ucc", "1/8"].text == "51.0 ± 1.0 (3)"


def test_a_missing_run_shows_and_is_not_averaged_over(plan: Plan) -> None:
    finished = results(plan, leave_out=("supervised", "1/16", 1))
    table = {(c.arm, c.column): c for c in cells(plan, finished)}
    cell = table["supervised", "1/16"]
    assert (cell.mean, cell.sd, cell.text) == (None, None, "missing (2 of 3)")
    assert "missing (2 of 3)" in markdown(plan, list(table.values()), finished)
    (row,) = [r for r in run_rows(plan, finished) if (r["arm"], r["column"], r["seed"]) == ("supervised", "1/16", 1)]
    assert "head_1" not in row


def test_the_papers_figures_stand_only_where_the_protocol_is_the_same(plan: Plan) -> None:
    text = markdown(plan, cells(plan, results(plan)), results(plan))
    assert r"$\color{grey}{\textsf{77.60}}$" in text
    assert "76.02" not in text
    assert "In grey: the figure of the paper" in text
    papers = {(row["arm"], row["column"]): row.get("paper") for row in cell_rows(cells(plan, results(plan)))}
    assert papers == {(c.arm, c.column): 77.6 if (c.arm, c.column) == ("ucc", "1/8") else None for c in cells(plan, {})}
    assert plan.paper == Paper({"partition.ratio": "1/8"}, {"ucc": {"1/16": 76.02, "1/8": 77.6}})


def test_runs_of_different_code_are_pointed_out(plan: Plan) -> None:
    finished = results(plan)
    assert "states of the source code" not in markdown(plan, cells(plan, finished), finished)
    key = next(iter(finished))
    finished[key] = replace(finished[key], code="bbbb")
    assert "2 states of the source code: aaaa, bbbb" in markdown(plan, cells(plan, finished), finished)


def test_the_picture_is_the_same_for_the_same_figures_and_stands_gaps(plan: Plan, tmp_path: Path) -> None:
    drawn = []
    for name in ("one.svg", "two.svg"):
        plot(plan, cells(plan, results(plan)), tmp_path / name)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith(b"<?xml")
    plot(plan, cells(plan, {}), tmp_path / "empty.svg")
    plot(plan, cells(plan, results(plan, leave_out=("ucc", "1/8", 2))), tmp_path / "gap.svg")
    assert "ucc (1/8 missing)" in (tmp_path / "gap.svg").read_text()
    assert "missing" not in drawn[0].decode()


def drawn_whole(figure: Figure) -> bool:
    """Whether everything in a figure lies within it."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return bool(min(drawn.x0, drawn.y0) >= 0 and drawn.x1 <= width and drawn.y1 <= height)


@pytest.mark.parametrize("length", [10, 60, 120])
def test_nothing_written_in_the_picture_is_cut_off_however_long_the_names_are(tmp_path: Path, length: int) -> None:
    content = {
        "title": "Two methods",
        "params": str(ROOT / "presets/streets.yaml"),
        "arms": {(f"{name} " * length)[:length]: {"method.name": name} for name in ("supervised", "ucc")},
        "seeds": [0],
    }
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    long = read_plan(tmp_path / "long.yaml")
    assert drawn_whole(draw(long, cells(long, {})))
    assert drawn_whole(draw(long, cells(long, results(long))))


def test_a_small_difference_does_not_look_like_a_large_one(plan: Plan) -> None:
    one_seed = replace(plan, seeds=(0,), columns=("1/16",), paper=None)
    close = {
        key: replace(done, figures={"head_1": 46.5 if "head_2" in done.figures else 46.4})
        for key, done in results(one_seed).items()
    }
    low, high = draw(one_seed, cells(one_seed, close)).axes[0].get_xlim()
    assert high - low == pytest.approx(LEAST_SPAN)
    assert low < 46.4 < 46.5 < high


def test_lines_over_labelled_shares_are_drawn_where_these_are_what_the_columns_are(plan: Plan, tmp_path: Path) -> None:
    def axis(of: Plan) -> str:
        plot(of, cells(of, results(of)), tmp_path / "axis.svg")
        return (tmp_path / "axis.svg").read_text()

    assert "share of training images with a mask" in axis(plan)
    steps = {"1/16": "500", "1/8": "1000"}
    same_ratio = [
        replace(r, column=steps[r.column], params=replace(r.params, partition=plan.runs[0].params.partition))
        for r in plan.runs
    ]
    assert "share of training" not in axis(replace(plan, columns=tuple(steps.values()), runs=tuple(same_ratio)))


@pytest.fixture
def repository(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one finished experiment, that of the plan's first run, and one without figures."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src/code.py").write_text("pass\n")
    shutil.copy(ROOT / "presets/streets.yaml", folder / "params.yaml")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "project")
    git(folder, "update-ref", "refs/exps/12/345/unfinished", "HEAD")
    params = asdict(plan.runs[0].params) | {"dataset": asdict(plan.runs[0].params.dataset) | {"root": "/elsewhere"}}
    commit_experiment(folder, "mine", params, {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    git(folder, "update-ref", "refs/exps/celery/stash", "refs/exps/12/345/mine")
    monkeypatch.chdir(folder)
    return folder


def commit_experiment(
    folder: Path, name: str, params: dict[str, Any], evaluation: dict[str, Any], labels: dict[str, Any] | None = None
) -> None:
    """What DVC keeps of a whole run: its parameters, what it measured, and dvc.lock, which vouches for both."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics/train.json").write_text(json.dumps({"best_val_miou": 45.123456}))
    (folder / "metrics/evaluation.json").write_text(json.dumps(evaluation))
    if labels:
        (folder / "metrics/pseudo_labels.json").write_text(json.dumps(labels))
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock_of(params, (folder / "metrics/evaluation.json").read_bytes())))
    git(folder, "add", "params.yaml", "dvc.lock", "metrics")
    git(folder, "commit", "--quiet", "-m", name)
    git(folder, "update-ref", f"refs/exps/12/345/{name}", "HEAD")
    git(folder, "reset", "--quiet", "--hard", "HEAD~1")


def lock_of(params: dict[str, Any], evaluation: bytes) -> dict[str, Any]:
    """A dvc.lock in which each stage depends on what the one before made."""
    sections = {
        "download": ["dataset"],
        "partition": ["partition"],
        "validate": ["validation"],
        "train": ["model", "views", "method", "train"],
        "evaluate": ["evaluate", "train.accelerator"],
    }
    made = {stage: {"path": f"made by {stage}", "md5": hashlib.md5(stage.encode()).hexdigest()} for stage in sections}
    made["download"]["path"] = "data/dataset"
    made["evaluate"] = {"path": "metrics/evaluation.json", "md5": hashlib.md5(evaluation).hexdigest()}
    flat = flatten(params)
    stages, before = {}, {"path": "src/code.py", "md5": "0"}
    for stage, keys in sections.items():
        used = {key: params[key] if key in params else flat[key] for key in keys}
        stages[stage] = {"deps": [{**before}], "params": {"params.yaml": used}, "outs": [made[stage]]}
        before = made[stage]
    return {"schema": "2.0", "stages": stages}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_finished_experiments_are_found_by_their_parameters(plan: Plan, repository: Path) -> None:
    found = finished_runs(repository)
    assert list(found) == [identity(asdict(plan.runs[0].params))]
    (done,) = found.values()
    assert (done.name, done.manifest, done.figures) == ("mine", "cafe", {"head_1": 44.5, "best": 45.1235})


def test_a_project_that_is_a_part_of_a_repository_has_its_experiments_found(plan: Plan, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "whole")
    whole = tmp_path / "whole"
    project = whole / "part"
    (project / "src").mkdir(parents=True)
    (project / "src/code.py").write_text("pass\n")
    git(whole, "add", "-A")
    git(whole, "commit", "--quiet", "-m", "project")
    commit_experiment(project, "mine", asdict(plan.runs[0].params), {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    (done,) = finished_runs(project).values()
    assert (done.name, done.figures["best"]) == ("mine", 45.1235)


def test_an_experiment_from_before_there_was_a_key_counts_as_the_run_that_it_was(plan: Plan, repository: Path) -> None:
    params = asdict(plan.runs[1].params)
    del params["evaluate"]["split"]
    commit_experiment(repository, "older", params, {"head_1": {"miou": 42.0}, "manifest": "cafe"})
    assert finished_runs(repository)[identity(asdict(plan.runs[1].params))].figures["head_1"] == 42.0


def test_a_run_that_was_evaluated_anew_has_figures_of_pseudo_labels_of_both_numbers_of_images(
    plan: Plan, repository: Path
) -> None:
    params, key = asdict(plan.runs[1].params), identity(asdict(plan.runs[1].params))
    for name, images in (("first", 50), ("second", 344), ("third", 9)):
        params["evaluate"]["pseudo_label_images"] = images
        evaluation = {"head_1": {"miou": 42.0}, "manifest": "cafe"}
        commit_experiment(repository, name, params, evaluation, {"head_1": {"miou": float(images) / 10}})
        if name == "second":
            assert {n: f["pseudo_head_1"] for n, f in finished_runs(repository)[key].labels.items()} == {
                50: 5,
                344: 34.4,
            }
            command.table(plan)
            git(repository, "update-ref", "-d", "refs/exps/12/345/second")
    done = done_runs(Path("results"), Path())
    assert done.disagreements == []
    assert sorted(done.runs[key].labels) == [9, 50]


def test_a_number_is_the_same_however_dvc_writes_it(plan: Plan, repository: Path) -> None:
    """In dvc.lock 0.00005 stands as 5e-05, which is a number there, and text to other readers of YAML."""
    git(repository, "checkout", "--quiet", "--detach", "refs/exps/12/345/mine")
    for name in ("params.yaml", "dvc.lock"):
        text = (repository / name).read_text(encoding="utf-8")
        weight = "5.0e-5" if name == "params.yaml" else "5e-05"
        assert text.count("weight_decay: 0.0005\n") == 1
        (repository / name).write_text(text.replace("weight_decay: 0.0005\n", f"weight_decay: {weight}\n"))
    git(repository, "commit", "--quiet", "--all", "--amend", "-m", "other")
    git(repository, "update-ref", "refs/exps/12/345/mine", "HEAD")
    params = plan.runs[0].params
    lighter = replace(params, train=replace(params.train, weight_decay=5e-5))
    assert list(finished_runs(repository)) == [identity(asdict(lighter))]


def test_a_text_of_dvc_is_parsed_once_and_as_omegaconf_does() -> None:
    numbers = "a: [1e-05, .5e-3, 1.5e+3, -1E5, 0.1, 3, '1e5', 1e, 1/16, 2024-01-01, x1e5]\nb: {c: null, d: true}\n"
    for text in (numbers, (ROOT / "dvc.lock").read_text(), (ROOT / "params.yaml").read_text()):
        assert parse_yaml(text) == OmegaConf.to_container(OmegaConf.create(text))
        assert parse_yaml(text) is parse_yaml(text)
    assert parse_yaml("") == parse_yaml("- 1") == {}


def relock(folder: Path, spoil: Callable[[dict[str, Any]], None]) -> None:
    """Commit the finished experiment anew with another dvc.lock."""
    git(folder, "checkout", "--quiet", "--detach", "refs/exps/12/345/mine")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    spoil(lock["stages"])
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    git(folder, "commit", "--quiet", "--all", "--amend", "-m", "spoilt")
    git(folder, "update-ref", "refs/exps/12/345/mine", "HEAD")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stages: stages["train"]["params"]["params.yaml"]["train"].update(lr=0.7),
        lambda stages: stages["evaluate"]["params"]["params.yaml"].update({"train.accelerator": "cuda"}),
        lambda stages: stages["train"]["outs"][0].update(md5="of another model"),
        lambda stages: stages["evaluate"]["outs"][0].update(md5="of another evaluation"),
        lambda stages: stages.pop("evaluate"),
    ],
    ids=["trained otherwise", "evaluated otherwise", "another model", "another evaluation", "not evaluated"],
)
def test_an_experiment_that_stopped_on_the_way_does_not_count_with_the_figures_of_another(
    repository: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    relock(repository, lambda _: None)
    assert finished_runs(repository)
    relock(repository, spoil)
    assert finished_runs(repository) == {}


def test_outside_a_repository_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Run from the project's root"):
        finished_runs(tmp_path)


def test_the_queue_is_read_from_what_dvc_prints() -> None:
    status = """Task     Name        Created    Status
6742d09  running-s0  10:32 PM   Running
f3b87bc  waiting-s1  Oct 02, 2026  Queued
3c1c9e1  failed-s2   10:32 PM   Failed
3c1c9e2  done-s3     10:32 PM   Success

Worker status: 2 active, 0 idle
"""
    assert set(queued_runs(status).values()) == {"running-s0", "waiting-s1"}
    assert set(queued_runs(status.replace("2 active", "0 active")).values()) == {"waiting-s1"}
    assert queued_runs("No experiment tasks in the queue.\n\nWorker status: 0 active, 0 idle\n") == {}


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
def test_a_run_whose_row_is_committed_counts_on_a_machine_that_never_made_it(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command.table(plan)
    rows = Path("results/methods.csv").read_text()
    git(Path(), "update-ref", "-d", "refs/exps/12/345/mine")
    assert finished_runs(Path()) == {}
    monkeypatch.setattr(command, "_dvc", lambda *_: "")
    capsys.readouterr()
    command.queue(plan)
    assert f"done     {plan.runs[0].name}: mIoU 44.50" in capsys.readouterr().out
    command.table(plan)
    assert Path("results/methods.csv").read_text() == rows
    Path("results/methods.csv").write_text("".join(rows.splitlines(keepends=True)[:1]))
    capsys.readouterr()
    command.queue(plan)
    assert f"queued   {plan.runs[0].name}" in capsys.readouterr().out


@pytest.mark.usefixtures("plan")
def test_what_the_machine_refuses_is_one_line(tmp_path: Path, repository: Path) -> None:
    (repository / "results").write_text("a file")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    arguments = ["-m", "ucc.experiments", "table", str(tmp_path / "methods.yaml")]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: results: is a file where a folder is needed; move or remove it and run again.\n"


@pytest.mark.usefixtures("repository")
def test_a_table_does_not_take_the_place_of_figures_that_it_does_not_hold(plan: Plan) -> None:
    command.table(plan)
    before = {path: path.read_bytes() for path in Path("results").iterdir()}
    git(Path(), "update-ref", "-d", "refs/exps/12/345/mine")
    other = replace(plan.runs[0], params=replace(plan.runs[0].params, train=replace(plan.runs[0].params.train, lr=0.3)))
    with pytest.raises(UserError, match=r"figures of 1 runs .* supervised 1/16 seed 0\. Give the file another name"):
        command.table(replace(plan, runs=(other, *plan.runs[1:])))
    assert {path: path.read_bytes() for path in Path("results").iterdir()} == before


@pytest.mark.usefixtures("repository")
def test_figures_of_other_parameters_do_not_take_the_place_of_those_in_the_table(plan: Plan) -> None:
    command.table(plan)
    shorter = replace(plan.runs[0].params, train=replace(plan.runs[0].params.train, steps=499))
    commit_experiment(Path(), "shorter", asdict(shorter), {"head_1": {"miou": 11.0}, "manifest": "cafe"})
    before = Path("results/methods.csv").read_bytes()
    with pytest.raises(UserError, match="figures of 1 runs"):
        command.table(replace(plan, runs=(replace(plan.runs[0], params=shorter), *plan.runs[1:])))
    assert Path("results/methods.csv").read_bytes() == before


@pytest.mark.usefixtures("repository")
def test_an_arm_can_be_renamed(plan: Plan) -> None:
    command.table(plan)
    renamed = tuple(replace(r, arm="baseline") if r.arm == "supervised" else r for r in plan.runs)
    command.table(replace(plan, arms=("baseline", "ucc"), runs=renamed))
    assert "baseline,1/16,0,44.5" in Path("results/methods.csv").read_text()


def test_a_recorded_row_counts_more_than_an_experiment_of_this_clone(
    plan: Plan, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.table(plan)
    rows = (repository / "results/methods.csv").read_text()
    assert done_runs(Path("results"), Path()).disagreements == []
    git(repository, "update-ref", "-d", "refs/exps/12/345/mine")
    commit_experiment(repository, "faulty", asdict(plan.runs[0].params), {"head_1": {"miou": 9.0}, "manifest": "cafe"})
    capsys.readouterr()
    command.table(plan)
    assert (repository / "results/methods.csv").read_text() == rows
    assert "note: faulty: 9.00 in this clone" in capsys.readouterr().err


def test_runs_on_different_data_are_not_averaged(plan: Plan) -> None:
    finished = results(plan)
    require_same_data(plan, finished)
    key = identity(asdict(plan.runs[1].params))
    finished[key] = replace(finished[key], manifest="beef")
    with pytest.raises(UserError, match=f"{plan.runs[0].name} was made with partition cafe and {plan.runs[1].name}"):
        require_same_data(plan, finished)


def test_runs_on_redrawn_masks_of_ones_own_are_not_averaged_with_those_before(plan: Plan) -> None:
    mine = [
        replace(run, params=replace(run.params, dataset=replace(run.params.dataset, name="folder", root="/a/cats")))
        for run in plan.runs
    ]
    plan = replace(plan, runs=tuple(mine))
    finished = {key: replace(done, data="one.dir") for key, done in results(plan).items()}
    require_same_data(plan, finished)
    key = identity(asdict(plan.runs[1].params))
    finished[key] = replace(finished[key], data="other.dir")
    with pytest.raises(UserError, match=r"were made with other images or masks, .*: one\.dir and other\.dir"):
        require_same_data(plan, finished)


def test_what_is_done_with_other_files_than_the_project_holds_now_is_told(
    plan: Plan, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By DVC's hash of the data set, or, of rows of tables, by the partition's; only of what the same keys ask for."""
    params = replace(plan.runs[0].params, dataset=replace(plan.runs[0].params.dataset, name="folder", root="/a/cats"))
    plan = replace(plan, runs=(replace(plan.runs[0], params=params),))
    commit_experiment(repository, "cats", asdict(params), {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    monkeypatch.setattr(command, "_dvc", lambda *_: "")
    lock = lock_of(asdict(params), b"")
    (repository / "params.yaml").write_text(yaml.safe_dump(asdict(params)))
    (repository / "data").mkdir()

    def told(data: str, manifest: str) -> str:
        lock["stages"]["download"]["outs"][0]["md5"] = data
        (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
        (repository / "data/partition.json").write_text(json.dumps({"hash": manifest}))
        command.queue(plan)
        shown = capsys.readouterr()
        assert "done     " in shown.out
        return shown.err

    same = hashlib.md5(b"download").hexdigest()
    note = "note: made with other images, masks or lists of ids than the project holds now: cats. To make such a run"
    assert told(same, "cafe") == ""
    assert told("other", "cafe").startswith(note)
    assert told(same, "beef").startswith(note)
    other = replace(params, dataset=replace(params.dataset, root="/a/dogs"))
    (repository / "params.yaml").write_text(yaml.safe_dump(asdict(other)))
    assert told("other", "beef") == ""


def test_what_is_done_with_another_list_of_the_same_name_is_told(
    plan: Plan, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of public data sets, too; not where the partition that the project holds is another, or was made of another."""
    monkeypatch.setattr(command, "_dvc", lambda *_: "")
    (repository / "data").mkdir()
    partition = replace(plan.runs[0].params.partition, labeled_ids="lists/mine.txt")
    params = replace(plan.runs[0].params, partition=partition)
    plan = replace(plan, runs=(replace(plan.runs[0], params=params),), arms=("supervised",), columns=("1/16",))
    plan = replace(plan, seeds=(plan.runs[0].seed,))
    commit_experiment(repository, "listed", asdict(params), {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    other = replace(params, partition=replace(partition, labeled_ids="lists/other.txt"))

    def told(manifest: str, present: Params, made: Params) -> list[str]:
        (repository / "params.yaml").write_text(yaml.safe_dump(asdict(present)))
        (repository / "dvc.lock").write_text(yaml.safe_dump(lock_of(asdict(made), b"")))
        (repository / "data/partition.json").write_text(json.dumps({"hash": manifest}))
        notes = []
        for tell in (command.queue, command.table):
            tell(plan)
            notes.append(capsys.readouterr().err)
        return notes

    assert told("cafe", params, params) == ["", ""]
    note = "note: made with other images, masks or lists of ids than the project holds now: listed. To make such a run"
    assert [text[: len(note)] for text in told("beef", params, params)] == [note, note]
    assert told("beef", other, other) == ["", ""]
    assert told("beef", params, other) == ["", ""]


@pytest.mark.parametrize(
    ("spoilt", "text"),
    [
        ("dvc.lock", "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> other\n"),
        ("dvc.lock", "schema: '2.0'\nstages:\n"),
        ("data/partition.json", '{\n<<<<<<< HEAD\n "hash": "cafe"\n=======\n "hash": "beef"\n>>>>>>> other\n}\n'),
        ("data/partition.json", "{}"),
        ("data/partition.json", "[]"),
    ],
)
def test_a_merge_that_was_not_finished_is_named_before_anything_is_queued_or_written(
    plan: Plan, repository: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str, text: str
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(command, "_dvc", lambda *arguments: calls.append(arguments) or "")
    (repository / "data").mkdir()
    (repository / "data/partition.json").write_text(json.dumps({"hash": "cafe"}))
    lock = lock_of(yaml.safe_load((repository / "params.yaml").read_text()), b"")
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
    (repository / spoilt).write_text(text)
    for tell in (command.queue, command.table):
        with pytest.raises(UserError, match=rf"^{spoilt}: a merge that was not finished.*git checkout --ours {spoilt}"):
            tell(plan)
    assert calls == []
    assert not Path("results").exists()


def test_what_else_is_known_of_the_runs_stands_below(plan: Plan) -> None:
    text = markdown(plan, cells(plan, results(plan)), results(plan))
    assert "| | head 2 | surer head right |" in text
    assert "| ucc, 1/8 | 52.0 ± 1.0 (3) | 60.0 ± 0.0 (3) |" in text
    assert "| supervised, 1/8 |" not in text
    explanations = ("Best on val flatters itself", "Labels: mIoU", "Collapsed: share", "Right: share")
    assert [sentence in text for sentence in explanations] == [False, False, False, True]


def test_a_table_of_figures_on_test_says_so(tmp_path: Path) -> None:
    content = {"title": "t", "params": str(ROOT / "presets/camvid.yaml"), "arms": {"a": {}}, "seeds": [0]}
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(content | {"set": {"evaluate.split": "test"}}), encoding="utf-8")
    of_test, of_val = read_plan(path), read_plan(path, ["evaluate.split=val"])
    assert "mIoU in percent on the images of test," in markdown(of_test, cells(of_test, {}), {})
    assert "mIoU in percent on the images that `partition` measures on," in markdown(of_val, cells(of_val, {}), {})


TABLES = [path for path in (ROOT / "experiments").glob("*.yaml") if (ROOT / f"results/{path.stem}.csv").exists()]


@pytest.mark.parametrize("path", sorted(TABLES), ids=lambda p: p.stem)
def test_no_committed_figure_is_lost_when_its_table_is_written_again(path: Path) -> None:
    rows = run_rows(read_plan(path), recorded_runs(ROOT / "results"))
    assert lost_rows(ROOT / f"results/{path.stem}.csv", rows) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("44.5", "lots", r"methods\.csv:2: head_1 = lots is no percentage\. .* counts as missing"),
        ("44.5", "nan", r"methods\.csv:2: head_1 = nan is no percentage"),
        ("44.5", "445", r"methods\.csv:2: head_1 = 445 is no percentage"),
        ("44.5", "", r"methods\.csv:2: a run without head_1"),
        ("cafe", "", r"methods\.csv:2: a run without manifest"),
        ("arm,column", "was,lost", r"methods\.csv: its first line is not that of a table of runs"),
        ("supervised,1/16,1", "<<<<<<< HEAD\nsupervised,1/16,1", r"methods\.csv:3: a merge that was not finished"),
        ("supervised,1/16,1", "Größe,1/16,1", r"methods\.csv: not a table in UTF-8"),
    ],
)
def test_a_spoilt_table_is_named(plan: Plan, repository: Path, old: str, new: str, message: str) -> None:
    command.table(plan)
    path = repository / "results/methods.csv"
    path.write_text(path.read_text().replace(old, new, 1), encoding="latin-1")
    with pytest.raises(UserError, match=message):
        recorded_runs(repository / "results")
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        command.table(plan)
    assert path.read_bytes() == before


def test_a_table_that_was_saved_with_a_byte_order_mark_is_read(plan: Plan, repository: Path) -> None:
    command.table(plan)
    recorded = recorded_runs(repository / "results")
    path = repository / "results/methods.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert recorded_runs(repository / "results") == recorded != {}


def test_two_results_of_one_run_are_named(plan: Plan, repository: Path) -> None:
    command.table(plan)
    for kind in ("csv", "params.yaml"):
        shutil.copy(repository / f"results/methods.{kind}", repository / f"results/others.{kind}")
    assert recorded_runs(repository / "results")
    path = repository / "results/others.csv"
    path.write_text(path.read_text().replace("44.5", "43.5"))
    with pytest.raises(UserError, match=r"methods\.csv:2 and .*others\.csv:2: two results of one run"):
        recorded_runs(repository / "results")


def with_labels(repository: Path, table: str, figure: str, images: str) -> None:
    """Give the first run of results/methods.csv a figure of pseudo labels, in a table of the name `table`."""
    parameters = (repository / "results/methods.params.yaml").read_text()
    (repository / f"results/{table}.params.yaml").write_text(parameters)
    with (repository / "results/methods.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[0] |= {"pseudo_head_1": figure, "pseudo_label_images": images}
    with (repository / f"results/{table}.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_figures_of_pseudo_labels_stand_only_in_a_table_that_asks_for_as_many_images(
    plan: Plan, repository: Path, tmp_path: Path
) -> None:
    command.table(plan)
    with_labels(repository, "others", "31.0", "344")
    with_labels(repository, "methods", "30.0", "50")
    (run,) = recorded_runs(repository / "results").values()
    assert run.labels == {50: {"pseudo_head_1": 30.0}, 344: {"pseudo_head_1": 31.0}}
    others = read_plan(tmp_path / "methods.yaml", ["evaluate.pseudo_label_images=344"])
    for asking, figure, images in ((plan, 30.0, 50), (others, 31.0, 344)):
        row = run_rows(asking, recorded_runs(repository / "results"))[0]
        assert (row["pseudo_head_1"], row["pseudo_label_images"]) == (figure, images)
        assert cells(asking, recorded_runs(repository / "results"), "pseudo_head_1")[0].values[0] == figure
    neither = read_plan(tmp_path / "methods.yaml", ["evaluate.pseudo_label_images=9"])
    assert "pseudo_head_1" not in run_rows(neither, recorded_runs(repository / "results"))[0]


def test_figures_of_pseudo_labels_are_not_lost_by_a_table_that_asks_for_other_images(
    plan: Plan, repository: Path, tmp_path: Path
) -> None:
    command.table(plan)
    with_labels(repository, "methods", "30.0", "50")
    command.table(plan)
    with pytest.raises(UserError, match=r"holds figures of 1 runs .* supervised 1/16 seed 0"):
        command.table(read_plan(tmp_path / "methods.yaml", ["evaluate.pseudo_label_images=9"]))


def test_a_table_from_before_there_was_the_number_of_images_keeps_its_scores(plan: Plan, repository: Path) -> None:
    command.table(plan)
    path = repository / "results/methods.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        del row["pseudo_label_images"]
    rows[0]["pseudo_head_1"] = "30.0"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (run,) = recorded_runs(repository / "results").values()
    assert (run.figures["head_1"], run.labels) == (44.5, {})
    command.table(plan)


@pytest.mark.parametrize(
    ("images", "message"), [("50", "two results of one run"), ("", "pseudo_label_images =  is no number of images")]
)
def test_figures_of_pseudo_labels_that_contradict_each_other_or_lack_their_images_are_named(
    plan: Plan, repository: Path, images: str, message: str
) -> None:
    command.table(plan)
    with_labels(repository, "others", "31.0", images)
    with_labels(repository, "methods", "30.0", "50")
    with pytest.raises(UserError, match=message):
        recorded_runs(repository / "results")


@pytest.mark.usefixtures("repository")
def test_the_exact_parameters_of_every_run_stand_beside_the_table(plan: Plan) -> None:
    command.table(plan)
    written = yaml.safe_load(Path("results/methods.params.yaml").read_text())
    for run in plan.runs:
        found = written["common"] | written["runs"][run.name]
        wanted = {key: value for key, value in flatten(asdict(run.params)).items() if key not in PLACES}
        assert found == wanted
    assert set(written["runs"][plan.runs[0].name]) == {"method.name", "partition.ratio", "train.seed"}
