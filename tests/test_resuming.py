"""A training that was killed, refused, moved or damaged goes on to the same weights, or says why not."""

import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.precision import Precision
from trainings import OUTPUTS, PROCESSES, STEPS, LoadParams, assert_same_content, places, rows

from ucc.checkpoints import previous, read_checkpoint
from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.models.store import load_segmenter
from ucc.runs import data_hash, fingerprint, locked
from ucc.signals import StoppedError
from ucc.training import Trainer, TrainingPaths, train


def train_into_log(params: Params, paths: TrainingPaths, log: Path) -> None:
    """What a training process runs; its output goes to a file, as the test would see it on a terminal."""
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - a descriptor, kept to the end
        torch.set_num_threads(1)
        multiprocessing.set_start_method("fork", force=True)  # for the workers, as outside this test
        train(params, paths)


def start(params: Params, paths: TrainingPaths, log: Path) -> ForkServerProcess:
    process = PROCESSES.Process(target=train_into_log, args=(params, paths, log))
    process.start()
    return process


def wait_for(text: str, log: Path, process: ForkServerProcess) -> None:
    """Return as soon as `text` is on the process's output."""
    deadline = time.monotonic() + 300
    while not (log.exists() and text in log.read_text()):
        assert process.is_alive(), f"training ended before it printed {text!r}"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_training_killed_again_and_again_ends_with_the_same_weights_bit_for_bit(
    paths: TrainingPaths, undisturbed: TrainingPaths, tiny_params: LoadParams, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    # The number of workers and the distance of checkpoints change from start to start: neither matters.
    for step, workers, every in ((3, 0, 2), (6, 2, 2), (9, 0, 4), (11, 2, 1)):
        params = tiny_params(f"train.workers={workers}", f"train.checkpoint_every={every}")
        process = start(params, paths, log)
        wait_for(f"step {step}/{STEPS}", log, process)
        process.kill()
        process.join()
        assert not paths.final.exists()
    process = start(tiny_params(), paths, log)
    process.join()
    assert process.exitcode == 0
    starts = [line.split(": ")[1] for line in log.read_text().splitlines() if line.startswith("run ")]
    assert starts[0] == "training from the start"
    assert len(starts) == 5
    assert all(line.startswith("going on after step ") for line in starts[1:])
    assert_same_content(paths.final, undisturbed.final)
    assert_same_content(paths.best, undisturbed.best)
    assert paths.history.read_bytes() == undisturbed.history.read_bytes()
    assert paths.metrics.read_bytes() == undisturbed.metrics.read_bytes()


def test_history_and_metrics_can_be_read_while_training_runs_and_come_back_after_a_kill(
    paths: TrainingPaths, tiny_params: LoadParams, tmp_path: Path
) -> None:
    params, log = tiny_params(), tmp_path / "log"
    process = start(params, paths, log)
    wait_for(f"step 6/{STEPS}", log, process)
    process.kill()
    process.join()
    # The line may have been printed just before the files were written.
    assert [int(row["step"]) for row in rows(paths.history)][:5] == [1, 2, 3, 4, 5]
    live = json.loads(paths.metrics.read_text())
    assert live["step"] >= 5
    assert live["best_step"] == 4
    assert {"loss", "loss_sup", "val_miou_head_1", "manifest", "fingerprint"} <= live.keys()
    for output in (paths.history, paths.metrics):  # as DVC does before it starts the stage again
        output.unlink()
    process = start(params, paths, tmp_path / "second log")
    wait_for("going on after step 4", tmp_path / "second log", process)
    wait_for(f"step 5/{STEPS}", tmp_path / "second log", process)
    process.kill()
    process.join()
    assert [int(row["step"]) for row in rows(paths.history)][:4] == [1, 2, 3, 4]


def test_a_second_trainer_is_refused_until_the_first_has_ended_however_it_ended(
    paths: TrainingPaths, tiny_params: LoadParams, tiny_dataset: Path, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    params = tiny_params("train.workers=2", "train.steps=5000")
    log = tmp_path / "log"
    process = start(params, paths, log)
    wait_for("step 1/5000", log, process)
    try:
        with pytest.raises(UserError, match=f"process {process.pid} is training this very run.*kill {process.pid}"):
            train(params, paths)
    finally:
        process.kill()
        process.join()
    # Its workers notice only seconds later that they are orphans; the lock must not be theirs.
    run = paths.runs / fingerprint(params, data_hash(tiny_dataset, tiny_manifest), DatasetInfo.read(tiny_dataset))
    with locked(run):
        pass


def test_a_trainer_with_other_parameters_is_refused_while_the_first_would_write_to_the_same_outputs(
    paths: TrainingPaths, tiny_params: LoadParams, tmp_path: Path
) -> None:
    short = tiny_params("train.steps=1", "method.name=supervised")
    process = start(tiny_params("train.steps=5000"), paths, tmp_path / "log")
    wait_for("step 1/5000", tmp_path / "log", process)
    other = replace(paths, **{name: tmp_path / "other" / name for name in OUTPUTS})
    try:
        told = rf"final\.pt: process {process.pid} is training another run that ends there\. .*`kill {process.pid}`"
        with pytest.raises(UserError, match=told):
            train(short, paths)
        assert not paths.final.exists()
        train(short, other)
        assert process.is_alive()
    finally:
        process.kill()
        process.join()
    train(short, paths)
    assert_same_content(paths.final, other.final)


PRECISIONS = [
    ("bf16-mixed", "cpu"),
    *(pytest.param(p, "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))
      for p in ("bf16-mixed", "16-mixed")),
]  # fmt: skip


@pytest.mark.parametrize(("precision", "accelerator"), PRECISIONS)
def test_lower_precision_trains_in_parts_of_a_batch_and_goes_on_where_it_was(
    precision: str, accelerator: str, paths: TrainingPaths, tiny_params: LoadParams, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tiny_params(
        "train.steps=4", "train.val_every=2", "train.checkpoint_every=2", "train.batch_labeled=4",
        "train.batch_unlabeled=4", "train.accumulation=2", f"train.precision={precision}",
        f"train.accelerator={accelerator}",
    )  # fmt: skip
    log = Trainer._log

    def note(self: Trainer, step: int, *others: Any) -> None:
        log(self, step, *others)
        signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_log", note)
        with pytest.raises(StoppedError):
            train(params, paths)
    state = read_checkpoint(next(paths.runs.iterdir()) / "checkpoint.pt")
    assert state is not None
    assert ("scale" in state["precision"]) == (precision == "16-mixed")
    assert all(value.dtype != torch.bfloat16 for value in state["method"].values())  # the weights themselves stay
    train(params, paths)
    assert "going on after step 1" in capsys.readouterr().out
    assert all(math.isfinite(float(row["loss"])) for row in rows(paths.history))
    assert [int(row["step"]) for row in rows(paths.history)] == [1, 2, 3, 4]


def test_a_training_stopped_in_its_warm_up_goes_on_to_the_same_weights(
    tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    stopped, through = (places(tmp_path / name, tiny_dataset, tiny_manifest) for name in ("stopped", "through"))
    params = tiny_params("train.steps=5", "train.supervised_warmup=3", "train.val_every=5", "train.workers=2")
    log = Trainer._log

    def note(self: Trainer, step: int, *others: Any) -> None:
        log(self, step, *others)
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_log", note)
        with pytest.raises(StoppedError, match="stopped after step 2"):
            train(params, stopped)
    train(params, stopped)
    train(params, through)
    assert_same_content(stopped.final, through.final)
    assert [row["loss_unsup"] != "" for row in rows(stopped.history)] == [False, False, False, True, True]


def test_deleted_outputs_of_a_finished_training_are_made_again_without_training(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tiny_params("train.steps=3", "train.val_every=2", "method.name=supervised")
    train(params, paths)
    outputs = (paths.final, paths.best, paths.history, paths.metrics)
    kept = {output: output.rename(output.with_suffix(".kept")) for output in outputs}
    monkeypatch.setattr(StepBatches, "__getitem__", lambda *_: pytest.fail("a finished training took another step"))
    train(params, paths)
    assert "going on after step 3" in capsys.readouterr().out
    for output, before in kept.items():
        if output.suffix == ".pt":
            assert_same_content(output, before)
        else:
            assert output.read_bytes() == before.read_bytes()


def test_the_best_segmenter_of_steps_that_were_lost_by_a_kill_is_not_taken_for_the_best(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU steps that are repeated are not equal bit for bit, and another one may be the best."""
    params = tiny_params("train.checkpoint_every=5", "method.name=supervised")
    scores = {4: 10.0, 8: 50.0, 12: 5.0}
    log = Trainer._log

    def killed(self: Trainer, step: int, *others: Any) -> None:
        validated, *rest = others
        log(self, step, validated and {"val_miou_head_1": scores[step]}, *rest)
        if step == 8 and scores[8] > 10:
            scores[8] = 5.0
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_log", killed)
    with pytest.raises(KeyboardInterrupt):
        train(params, paths)
    train(params, paths)
    assert json.loads(paths.metrics.read_text())["best_step"] == 4
    assert load_segmenter(paths.best)[1].step == 4
    (run,) = paths.runs.iterdir()
    assert [file.name for file in run.glob("best_*")] == ["best_4.pt"]


@pytest.mark.parametrize(
    ("scores", "lose", "best"),
    [
        ((50.0, None, 30.0, 10.0, 5.0), Path.unlink, 6),  # None: killed there, after the checkpoint of step 6
        ((50.0, 10.0, 5.0, 20.0), lambda file: file.write_bytes(file.read_bytes()[:-100]), STEPS),
    ],
    ids=["deleted, on the way", "damaged, at the end"],
)
def test_a_run_whose_best_segmenter_is_lost_goes_on_with_a_warning_and_another_best(
    scores: tuple[float | None, ...],
    lose: Callable[[Path], object],
    best: int,
    paths: TrainingPaths,
    tiny_params: LoadParams,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upcoming = iter(scores)

    def scripted(_: Trainer) -> dict[str, float]:
        if (score := next(upcoming)) is None:
            raise KeyboardInterrupt
        return {"val_miou_head_1": score}

    monkeypatch.setattr(Trainer, "_validate", scripted)
    params = tiny_params("method.name=supervised")
    with suppress(KeyboardInterrupt):
        train(params, paths)
    (run,) = paths.runs.iterdir()
    lose(run / "best_4.pt")
    capsys.readouterr()
    train(params, paths)
    assert next(upcoming, None) is None
    assert f"best_4.pt is damaged or gone; the best is sought anew from step {best} on" in capsys.readouterr().out
    assert json.loads(paths.metrics.read_text())["best_step"] == best
    assert load_segmenter(paths.best)[1].step == best
    assert load_segmenter(paths.final)[1].step == STEPS


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before_and_nothing_else(
    paths: TrainingPaths, undisturbed: TrainingPaths, tiny_params: LoadParams, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ucc.training.Trainer._publish", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_params(), paths)
    checkpoint = next(paths.runs.iterdir()) / "checkpoint.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    capsys.readouterr()
    train(tiny_params(), paths)
    said = capsys.readouterr().out
    assert f"warning: {checkpoint} (step 12) is damaged; going on from {previous(checkpoint)} (step 10)" in said
    assert "going on after step 10" in said
    for result in OUTPUTS:
        assert getattr(paths, result).read_bytes() == getattr(undisturbed, result).read_bytes()


def test_what_the_precision_keeps_comes_back(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU 16-mixed keeps the scale of the loss there."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(Precision, "state_dict", lambda _: {"scale": 512.0})
    monkeypatch.setattr(Precision, "load_state_dict", lambda _, state: found.append(state))
    for _ in range(2):
        train(tiny_params("train.steps=1", "method.name=supervised"), paths)
    assert found == [{"scale": 512.0}]


def test_a_damaged_checkpoint_does_not_cost_the_best_segmenter_of_the_one_before(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    scores = iter([50.0, 10.0, 60.0, 20.0])
    monkeypatch.setattr(Trainer, "_validate", lambda _: {"val_miou_head_1": next(scores)})
    params = tiny_params("method.name=supervised")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_publish", stop)
        with pytest.raises(KeyboardInterrupt):
            train(params, paths)
    checkpoint = next(paths.runs.iterdir()) / "checkpoint.pt"
    checkpoint.write_bytes(b"")
    train(params, paths)
    assert "gone" not in capsys.readouterr().out
    assert load_segmenter(paths.best)[1].step == 4
    assert json.loads(paths.metrics.read_text())["best_val_miou"] == 50
