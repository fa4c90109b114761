"""Ctrl-C, SIGTERM and SIGHUP: the step is finished, its checkpoint written, and the next start goes on from there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import TINY, prepare_stage

from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.signals import StoppedError, stop_request
from ucc.training import Trainer, TrainingPaths, train

pytestmark = pytest.mark.usefixtures("hangup")


def places(folder: Path, dataset: Path, manifest: Manifest) -> TrainingPaths:
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder / "manifest.csv")
    names = {"runs": "runs", "final": "final.pt", "best": "best.pt", "history": "h.csv", "confidence": "c.csv"}
    files = {key: folder / name for key, name in names.items()}
    return TrainingPaths(dataset=dataset, manifest=folder / "manifest.csv", metrics=folder / "t.json", **files)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_training_with_its_checkpoint_and_the_next_start_ends_with_the_same_weights(
    number: signal.Signals,
    tmp_path: Path,
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    params = tiny_params("train.steps=6", "train.checkpoint_every=100", "train.log_every=2")
    stopped = places(tmp_path / "stopped", tiny_dataset, tiny_manifest)
    log = Trainer._log

    def interrupted_log(self: Trainer, step: int, *others: object) -> None:
        log(self, step, *others)  # type: ignore[arg-type]
        if step == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_log", interrupted_log)
        with pytest.raises(StoppedError, match="stopped after step 2; the next start goes on from there") as error:
            train(params, stopped)
    assert error.value.status == 128 + number
    assert len(list(stopped.runs.glob("*/checkpoint.pt"))) == 1
    assert not stopped.final.exists()

    train(params, stopped)
    assert "going on after step 2" in capsys.readouterr().out
    undisturbed = places(tmp_path / "undisturbed", tiny_dataset, tiny_manifest)
    train(params, undisturbed)
    one, other = (torch.load(p.final, weights_only=True)["state"] for p in (stopped, undisturbed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_second_signal_ends_the_process_and_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_request() as stop:
        assert not stop
        signal.raise_signal(signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_launcher_passes_on_is_no_second_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    now = iter([100.0, 100.2, 104.0, 106.0])
    monkeypatch.setattr("ucc.signals.time", SimpleNamespace(monotonic=lambda: next(now)))
    with stop_request() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_process_whose_terminal_is_closed_goes_on_to_its_end(tmp_path: Path) -> None:
    """Whatever it prints from then on is an error of the system, which must not end it before its checkpoint."""
    code = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from ucc.signals import stop_request\n"
        "os.close(os.open(os.ttyname(0), os.O_RDWR))\n"  # the leader of a session thereby makes it its terminal
        "with stop_request() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop:\n        time.sleep(0.01)\n"
        "    print('step 7', flush=True)\n"
        "    Path('checkpoint').touch()\n"
        "    print('stopped', file=sys.stderr)\n"
        "    Path('end').touch()\n"
    )
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said = b""
    while b"ready" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "end").exists()


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_stage_whose_output_nobody_reads_any_more_ends_as_any_other(closed: str, tmp_path: Path) -> None:
    """Ctrl-C ends the `tee` of `2>&1 | tee log`, too: what is printed after that must not cost the checkpoint."""
    root = Path(__file__).parents[1]
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from ucc.progress import Progress, TrainingProgress\n"
        "from ucc.signals import stop_request\n"
        "from ucc.stage import run_stage\n"
        "def main(params):\n"
        "    with stop_request() as stop:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        TrainingProgress(9, lambda step: 1, 0).show({'step': 7, 'loss': 1.0})\n"
        "        Progress('evaluate', 1).advance()\n"
        "        Path('checkpoint').touch()\n"
        "        stop.raise_after(7)\n"
        "run_stage(main)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    kept = tmp_path / "kept"
    with kept.open("wb") as file:
        out, err = (writer if closed in (name, "both") else file for name in ("stdout", "stderr"))
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=out, stderr=err, check=False)
    os.close(writer)
    assert (tmp_path / "checkpoint").exists()
    assert done.returncode == 130
    assert "Error" not in kept.read_text()


def group_of_a_training(folder: Path, dataset: Path, manifest: Manifest, *changes: str) -> "subprocess.Popen[str]":
    """The stage `train` with its workers as a process group of its own, at work in the folder."""
    root = Path(__file__).parents[1]
    prepare_stage(folder, dataset, manifest)
    often = ("train.steps=1000", "train.val_every=1000", "train.checkpoint_every=1000", "method.name=supervised")
    process = subprocess.Popen(
        [sys.executable, "-u", root / "pipeline/train.py", *TINY, *often, *changes],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    while "step 2/1000" not in said:
        line = process.stdout.readline()
        assert line, f"training ended with {process.wait()}: {said}"
        said += line
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "devices"),
    [
        (signal.SIGTERM, 1),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, 1, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.long),
    ],
)
def test_a_signal_to_a_whole_group_of_processes_ends_training_with_its_checkpoint(
    number: signal.Signals, devices: int, tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest
) -> None:
    """As of Ctrl-C, of torchrun, of SLURM: workers that died of it would be an error before the checkpoint."""
    workers = ("train.workers=1", f"train.devices={devices}")
    process = group_of_a_training(tmp_path, tiny_dataset, tiny_manifest, *workers)
    os.killpg(process.pid, number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, said
    assert said.count(f"{number.name}: stopped after step") == 1, said
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("runs/*/checkpoint.pt"))) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_stopped_stage_exits_with_the_status_of_its_signal_and_one_line(
    number: int, status: int, tmp_path: Path
) -> None:
    root = Path(__file__).parents[1]
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        "from ucc.stage import run_stage\nfrom ucc.signals import stop_request\nimport signal\n"
        "def main(params):\n"
        "    with stop_request() as stop:\n"
        f"        signal.raise_signal({int(number)})\n"
        "        stop.raise_after(7)\n"
        "run_stage(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].endswith("stopped after step 7; the next start goes on from there.")
    assert "Traceback" not in done.stderr
