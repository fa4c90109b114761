"""Ctrl-C and SIGTERM: the step is finished, its checkpoint written, and the next start goes on from there."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.signals import StoppedError, stop_request
from ucc.training import Trainer, TrainingPaths, train


def places(folder: Path, dataset: Path, manifest: Manifest) -> TrainingPaths:
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder / "manifest.csv")
    names = {"runs": "runs", "final": "final.pt", "best": "best.pt", "history": "h.csv", "confidence": "c.csv"}
    files = {key: folder / name for key, name in names.items()}
    return TrainingPaths(dataset=dataset, manifest=folder / "manifest.csv", metrics=folder / "t.json", **files)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
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
