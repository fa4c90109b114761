"""The promises of a stage script: it runs, or it ends with one line that says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
from ucc.errors import UserError
from ucc.stage import run_stage

def main(params):
    {body}

run_stage(main)
"""


PIPELINE = """
stages:
  train: &stage
    cmd: python stage.py
    deps: [stage.py, src/ucc/models, src/ucc/gone.py, data/manifest.csv, data/dataset]
    params: [train, evaluate.split]
  download: *stage
"""


def run_script(
    folder: Path, body: str, *arguments: str, change: tuple[str, str] = ("", ""), **variables: str
) -> subprocess.CompletedProcess[str]:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    (folder / "params.yaml").write_text(text.replace(*change, 1), encoding="utf-8")
    (folder / "stage.py").write_text(SCRIPT.format(body=body), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}
    return subprocess.run(
        [sys.executable, "stage.py", *arguments],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_gets_the_parameters_and_the_overrides_of_its_command_line(tmp_path: Path) -> None:
    done = run_script(tmp_path, "print(params.train.steps, params.model.head)", "train.steps=777")
    assert done.stdout.split()[0] == "777"
    assert done.returncode == 0


def test_garbage_is_looked_for_as_usual_in_a_stage_but_not_among_what_it_imported(tmp_path: Path) -> None:
    usual = subprocess.run(
        [sys.executable, "-c", "import gc; print(gc.get_threshold())"], capture_output=True, text=True, check=True
    ).stdout
    done = run_script(tmp_path, "import gc; print(gc.get_threshold()); print(gc.get_freeze_count() > 10_000)")
    assert done.stdout == f"{usual}True\n"


def test_a_misspelt_key_ends_a_stage_with_one_line_that_names_it(tmp_path: Path) -> None:
    done = run_script(tmp_path, "print('started')", change=("head_width:", "head_widht:"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: params.yaml: unknown key model.head_widht; did you mean model.head_width?\n"


def test_bad_input_ends_a_stage_with_its_message_and_no_traceback(tmp_path: Path) -> None:
    done = run_script(tmp_path, "raise UserError('masks/a.png: too small; enlarge it.')")
    assert (done.returncode, done.stderr) == (1, "error: masks/a.png: too small; enlarge it.\n")


def test_a_full_disk_ends_a_stage_with_the_file_and_what_to_do(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from pathlib import Path; from ucc.files import write_text; write_text(Path('big.txt'), 'x' * 5000)",
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: big.txt: File too large. Allow larger files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "stage.py"]


def test_a_file_in_the_way_of_a_folder_ends_a_stage_and_a_folder_that_is_there_is_a_defect(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("mine")
    (tmp_path / "there").mkdir()
    make = "from pathlib import Path; Path({!r}).mkdir(parents=True)"
    for place, words in (
        ("reports", "is a file where a folder is needed"),
        ("reports/x", "a file stands where a folder"),
    ):
        done = run_script(tmp_path, make.format(place))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"error: {place}: ")
        assert words in done.stderr
    assert "Traceback" in run_script(tmp_path, make.format("there")).stderr


def test_a_stage_waits_for_another_process_that_runs_the_same_script(tmp_path: Path) -> None:
    body = "import time; from pathlib import Path; Path(str(time.time_ns())).touch(); time.sleep({seconds})"
    run_script(tmp_path, "pass")
    (tmp_path / "stage.py").write_text(SCRIPT.format(body=body.format(seconds=1)), encoding="utf-8")
    command = [sys.executable, "stage.py"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert sorted(said) == ["", "waiting for another process that runs stage.py ...\n"]
    first, second = sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())
    assert second - first >= 1e9


def test_a_stage_removes_what_a_killed_one_left_half_written(tmp_path: Path) -> None:
    body = (
        "import os; from ucc.files import atomic_path; from ucc.paths import MANIFEST; "
        "block = atomic_path(MANIFEST); block.__enter__(); os.kill(os.getpid(), 9)"
    )
    assert run_script(tmp_path, body).returncode == -9
    assert len(list((tmp_path / "data").iterdir())) == 1
    assert run_script(tmp_path, "pass").returncode == 0
    assert list((tmp_path / "data").iterdir()) == []


def edit(line: str, others: str) -> str:
    """The body of a stage while which line `line` of params.yaml comes to hold `others`."""
    return (
        "import re; from pathlib import Path; p = Path('params.yaml'); text = p.read_text(); "
        f"new = re.sub({line!r}, {others!r}, text, count=1, flags=re.M); assert new != text; p.write_text(new)"
    )


OTHER_LR = edit(r"^  lr: .*", "  lr: 0.001")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    for name in ("src/ucc/models/store.py", "src/ucc/losses.py", "data/manifest.csv", "data/dataset/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")
    return tmp_path


@pytest.mark.parametrize("address", ["train", "../dvc.yaml:train"])
def test_parameters_edited_while_a_stage_runs_end_it_since_dvc_would_record_them(pipeline: Path, address: str) -> None:
    done = run_script(pipeline, OTHER_LR, DVC_STAGE=address, change=("  lr: 0.05 ", "  lr: 0.04 "))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: params.yaml: train.lr changed from 0.04 to 0.001 while the stage train ran.")
    assert "runs/ keeps it: with the change undone, `dvc repro` ends at once" in done.stderr


def test_only_training_promises_that_nothing_is_lost(pipeline: Path) -> None:
    done = run_script(pipeline, OTHER_LR, DVC_STAGE="download")
    assert done.stderr.endswith("from recording them. `dvc repro` runs it again.\n")


def test_keys_that_come_and_go_while_a_stage_runs_are_named(pipeline: Path) -> None:
    done = run_script(pipeline, edit("^  lr: ", "  rl: "), DVC_STAGE="train", change=("  lr: 0.05 ", "  lr: 0.04 "))
    told = (
        "params.yaml: train.lr changed from 0.04 to nothing, params.yaml: train.rl changed from nothing to 0.04 while"
    )
    assert told in done.stderr
    assert "params.yaml: not valid YAML" in run_script(pipeline, edit("^train:", "["), DVC_STAGE="train").stderr


def test_files_that_change_come_or_go_while_a_stage_runs_end_it_since_dvc_would_record_them(pipeline: Path) -> None:
    edits = (
        "from pathlib import Path; Path('stage.py').write_text('other'); Path('src/ucc/models/a.py').touch(); "
        "Path('src/ucc/models/store.py').write_text('other'); Path('data/manifest.csv').unlink()"
    )
    done = run_script(pipeline, edits, DVC_STAGE="train")
    names = "stage.py changed, src/ucc/models/store.py changed, data/manifest.csv changed, src/ucc/models/a.py changed"
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {names} while the stage train ran.")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"DVC_STAGE": "a stage of another pipeline"},
        {"DVC_STAGE": "train", "UCC_LAUNCHER": "4711", "LOCAL_RANK": "0"},  # started by train.py's torchrun
        {"DVC_STAGE": "train", "LOCAL_RANK": "1"},  # started by Fabric
    ],
)
def test_without_dvc_and_in_processes_that_a_stage_starts_edits_are_no_error(
    pipeline: Path, variables: dict[str, str]
) -> None:
    done = run_script(pipeline, OTHER_LR, **variables)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_dvc_does_not_record_of_a_stage_may_be_edited_while_it_runs(pipeline: Path) -> None:
    edits = [
        edit("^  protocol: .*", "  protocol: cps"),
        edit("^  panels: .*", "  panels: 7"),
        edit("^", "# a comment\n"),
        *(f"open({name!r}, 'w')" for name in ("src/ucc/losses.py", "src/ucc/models/.a.py.swp", "data/dataset/a.png")),
    ]
    done = run_script(pipeline, "; ".join(edits), DVC_STAGE="train")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_defect_of_the_program_keeps_its_traceback(tmp_path: Path) -> None:
    done = run_script(tmp_path, "raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_an_interrupted_stage_ends_quietly_with_130(tmp_path: Path) -> None:
    done = run_script(tmp_path, "raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NO_ALBUMENTATIONS_UPDATE", "1"), ("GX_ANALYTICS_ENABLED", "false"), ("DVC_NO_ANALYTICS", "1")],
)
def test_a_stage_keeps_its_libraries_from_calling_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    done = run_script(tmp_path, f"import os; print(os.environ['{variable}'])")
    assert done.stdout.strip() == value
