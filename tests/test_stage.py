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


def run_script(
    folder: Path, body: str, *arguments: str, change: tuple[str, str] = ("", "")
) -> subprocess.CompletedProcess[str]:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    (folder / "params.yaml").write_text(text.replace(*change, 1), encoding="utf-8")
    (folder / "stage.py").write_text(SCRIPT.format(body=body), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}
    return subprocess.run(
        [sys.executable, "stage.py", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_gets_the_parameters_and_the_overrides_of_its_command_line(tmp_path: Path) -> None:
    done = run_script(tmp_path, "print(params.train.steps, params.model.head)", "train.steps=777")
    assert done.stdout.split()[0] == "777"
    assert done.returncode == 0


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
