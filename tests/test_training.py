"""Training as a user meets it: killed, started again, watched, and told that something is wrong."""

import errno
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.precision import Precision
from torch import Tensor
from trainings import PROCESSES, places, rows

from ucc.checkpoints import previous, read_checkpoint
from ucc.config import Params
from ucc.data.batch import Batch
from ucc.data.dataset import DatasetInfo
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.evaluation import validate_miou
from ucc.methods import StepLosses
from ucc.methods.ucc import UCC
from ucc.models.store import load_segmenter
from ucc.runs import data_hash, fingerprint, locked
from ucc.signals import StoppedError
from ucc.torch_files import write_torch
from ucc.training import Trainer, TrainingPaths, train

LoadParams = Callable[..., Params]
STEPS = 12
OUTPUTS = ("final", "best", "history", "confidence", "metrics")


@pytest.fixture
def paths(tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest) -> TrainingPaths:
    return places(tmp_path, tiny_dataset, tiny_manifest)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> TrainingPaths:
    """A training that nothing interrupted."""
    done = places(tmp_path_factory.mktemp("undisturbed"), tiny_dataset, tiny_manifest)
    train(tiny_params(), done)
    return done


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


def tensors(value: Any) -> Iterator[tuple[str, Any]]:
    """All leaves of a nested structure with their places."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ((f"{key}.{name}", leaf) for name, leaf in tensors(item))
    else:
        yield "", value


def assert_same_content(one: Path, other: Path) -> None:
    """torch.save puts the file's name inside, so that contents are compared, bit for bit, rather than files."""
    first = dict(tensors(torch.load(one, weights_only=True)))
    second = dict(tensors(torch.load(other, weights_only=True)))
    assert first.keys() == second.keys()
    different = [
        name
        for name, value in first.items()
        if not (torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name])
    ]
    assert different == []


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


def test_how_fast_a_training_was_is_told_and_kept_with_its_run_but_in_no_output_of_the_stage(
    paths: TrainingPaths, tiny_params: LoadParams, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_params("train.steps=3", "train.val_every=2", "method.name=supervised"), paths)
    said = capsys.readouterr().out
    assert re.search(r"^trained 3 steps: [\d.]+ images/s, [\d.]+% of the time waiting for data$", said, re.MULTILINE)
    speed = json.loads((next(paths.runs.iterdir()) / "speed.json").read_text())
    assert speed["steps"] == 3
    assert speed["images_per_second"] > 0
    assert 0 < speed["waiting_for_data"] < 1
    assert not speed.keys() & json.loads(paths.metrics.read_text()).keys() - {"steps"}


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


def test_other_parameters_start_a_run_of_their_own(
    paths: TrainingPaths, tiny_params: LoadParams, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("train.steps=1", "method.name=supervised")
    said = []
    for change in ("train.lr=0.02", "train.lr=0.01", "train.workers=1", "train.checkpoint_every=9"):
        train(tiny_params(*short, change), paths)
        said.append(capsys.readouterr().out.splitlines()[0].split(": ")[1])
    assert said == ["training from the start"] * 2 + ["going on after step 1"] * 2
    assert len(list(paths.runs.iterdir())) == 2


def test_the_best_segmenter_is_the_one_of_the_highest_score_on_val(undisturbed: TrainingPaths) -> None:
    scores = {int(row["step"]): row["val_miou_head_1"] for row in rows(undisturbed.history) if row["val_miou_head_1"]}
    assert list(scores) == [4, 8, 12]
    best = max(scores, key=lambda step: float(scores[step]))
    metrics = json.loads(undisturbed.metrics.read_text())
    assert metrics["best_step"] == best
    assert metrics["best_val_miou"] == pytest.approx(float(scores[best]), rel=1e-5)
    assert load_segmenter(undisturbed.best)[1].step == best


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


def test_the_final_segmenter_knows_what_it_is(
    undisturbed: TrainingPaths, tiny_params: LoadParams, tiny_dataset: Path, tiny_manifest: Manifest
) -> None:
    segmenter, facts = load_segmenter(undisturbed.final)
    info = DatasetInfo.read(tiny_dataset)
    assert (facts.dataset, facts.classes, facts.colors) == ("tiny", info.classes, info.colors)
    assert facts.step == STEPS
    assert facts.manifest == tiny_manifest.hash
    assert facts.fingerprint == fingerprint(tiny_params(), data_hash(tiny_dataset, tiny_manifest), info)
    assert facts.params["train"]["lr"] == 0.02
    assert len(segmenter.heads) == 2


def test_segmenters_have_the_colours_of_today_after_a_change_that_makes_no_other_run(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, tmp_path: Path
) -> None:
    dataset = tmp_path / "data"
    shutil.copytree(tiny_dataset, dataset)
    info = DatasetInfo.read(dataset)
    done = places(tmp_path / "project", dataset, tiny_manifest)
    for colors in (info.colors, info.colors[::-1]):
        replace(info, colors=colors).write(dataset)
        train(tiny_params("train.steps=2", "train.val_every=1", "method.name=supervised"), done)
        assert [load_segmenter(path)[1].colors for path in (done.final, done.best)] == [colors, colors]
    assert len(list(done.runs.glob("*/checkpoint.pt"))) == 1


def test_parameters_that_training_does_not_depend_on_leave_its_segmenters_as_they_are(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, tmp_path: Path
) -> None:
    done = []
    for number, changes in enumerate([(), ("export.opset=20", "evaluate.checkpoint=best", "dataset.max_side=40")]):
        done.append(places(tmp_path / str(number), tiny_dataset, tiny_manifest))
        train(tiny_params("train.steps=1", "method.name=supervised", *changes), done[-1])
    one, other = done
    assert one.final.read_bytes() == other.final.read_bytes()
    assert one.best.read_bytes() == other.best.read_bytes()


def test_history_has_a_row_for_every_log_step_with_losses_and_rates(
    undisturbed: TrainingPaths, tiny_params: LoadParams
) -> None:
    table = rows(undisturbed.history)
    assert [int(row["step"]) for row in table] == list(range(1, STEPS + 1))
    names = {"loss", "loss_sup", "loss_unsup", "lr", "agreement"}
    assert all(float(row[name]) >= 0 for row in table for name in names)
    lr = tiny_params().train.lr
    expected = [lr * (1 - step / STEPS) ** 0.9 for step in range(STEPS)]
    assert [float(row["lr"]) for row in table] == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def dropout_seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of torch's generator in the steps of the trainings of a test."""
    gradients = Trainer._gradients
    seeds: list[int] = []

    def note(self: Trainer, batch: Batch, step: int) -> list[dict[str, Tensor]]:
        seeds.append(torch.initial_seed())
        return gradients(self, batch, step)

    monkeypatch.setattr(Trainer, "_gradients", note)
    return seeds


def test_dropout_draws_anew_in_every_step(
    paths: TrainingPaths, tiny_params: LoadParams, dropout_seeds: list[int]
) -> None:
    train(tiny_params("train.steps=3", "train.val_every=3", "method.name=supervised"), paths)
    assert len(set(dropout_seeds)) == len(dropout_seeds) == 3


def test_a_loss_that_is_not_finite_ends_training_with_a_remedy(paths: TrainingPaths, tiny_params: LoadParams) -> None:
    params = tiny_params("method.name=supervised", "train.val_every=12")
    params.train.lr = 1e30  # more than params.yaml may say, so that it shows at once
    with pytest.raises(UserError, match=r"not finite at step \d+: .* is (nan|inf).*lower train\.lr"):
        train(params, paths)
    assert not paths.final.exists()


def test_a_broken_batch_is_named_exactly_and_written_to_look_at(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tiny_params("train.log_every=6", "train.checkpoint_every=6", "train.val_every=12")
    step_of = UCC.forward

    def break_step_8(method: UCC, batch: Batch, step: int) -> StepLosses:
        losses = step_of(method, batch, step)
        factor = math.nan if step == 7 else 1.0
        return StepLosses(losses.total * factor, {k: v * factor for k, v in losses.record.items()})

    monkeypatch.setattr(UCC, "forward", break_step_8)
    with pytest.raises(UserError, match=r"not finite at step 8: loss is nan.*labeled: images/.*nonfinite_step_8"):
        train(params, paths)
    (run,) = paths.runs.iterdir()
    assert json.loads((run / "nonfinite_step_8/batch.json").read_text())["labeled"][0].startswith("images/train")
    state = read_checkpoint(run / "checkpoint.pt")
    assert state is not None
    assert state["step"] == 6


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


def test_running_out_of_memory_says_what_to_lower_and_keeps_the_checkpoint(
    paths: TrainingPaths, undisturbed: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_of = UCC.forward

    def too_large(method: UCC, batch: Batch, step: int) -> StepLosses:
        if step == 5:
            torch.empty(1 << 60, dtype=torch.uint8)
        return step_of(method, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(UCC, "forward", too_large)
        with pytest.raises(UserError, match=r"train\.batch_labeled = 2.*views\.crop = \[32, 32\].*Lower"):
            train(tiny_params(), paths)
    train(tiny_params(), paths)
    assert paths.final.read_bytes() == undisturbed.final.read_bytes()


def test_a_full_disk_while_checkpointing_keeps_the_checkpoint_before(
    paths: TrainingPaths, undisturbed: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: dict[str, Any]) -> None:
        if content["step"] == 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_torch(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("ucc.checkpoints.write_torch", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*checkpoint\.pt'"):
            train(tiny_params(), paths)
    state = read_checkpoint(next(paths.runs.iterdir()) / "checkpoint.pt")
    assert state is not None
    assert state["step"] == 6
    train(tiny_params(), paths)
    assert paths.final.read_bytes() == undisturbed.final.read_bytes()


def test_training_names_a_missing_manifest(paths: TrainingPaths, tiny_params: LoadParams) -> None:
    paths.manifest.unlink()
    with pytest.raises(UserError, match=r"manifest\.csv: cannot be read.*`partition` writes it"):
        train(tiny_params(), paths)
    assert not any(getattr(paths, f.name).exists() for f in fields(paths) if f.name not in ("dataset", "manifest"))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_optimiser_is_plain_sgd_with_the_momentum_of_the_parameters(
    momentum: float, paths: TrainingPaths, tiny_params: LoadParams
) -> None:
    short = ("train.steps=2", "train.val_every=2", "method.name=supervised", "train.weight_decay=0")
    params = tiny_params(*short, f"train.momentum={momentum}")
    gradients: list[Tensor] = []
    weights: list[Tensor] = []
    learn = Trainer._learn

    def note(self: Trainer, batch: Batch, step: int) -> None:
        (*_, weight) = self.method.parameters()
        weights.append(weight.detach().clone())
        learn(self, batch, step)
        assert weight.grad is not None
        gradients.append(weight.grad.clone())
        weights.append(weight.detach().clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_learn", note)
        train(params, paths)
    rates = [0.02, 0.02 * 0.5**0.9]
    torch.testing.assert_close(weights[1], weights[0] - rates[0] * gradients[0])
    torch.testing.assert_close(weights[3], weights[2] - rates[1] * (momentum * gradients[0] + gradients[1]))


def test_a_loss_that_is_not_finite_is_named_before_a_checkpoint_is_written_between_two_rows(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tiny_params("train.log_every=12", "train.val_every=12", "method.name=supervised")
    gradients = Trainer._gradients

    def broken(self: Trainer, batch: Batch, step: int) -> list[dict[str, Tensor]]:
        records = gradients(self, batch, step)
        return [{name: value * math.nan for name, value in each.items()} for each in records] if step == 4 else records

    monkeypatch.setattr(Trainer, "_gradients", broken)
    with pytest.raises(UserError, match=r"not finite at step 5: loss is nan"):
        train(params, paths)
    state = read_checkpoint(next(paths.runs.iterdir()) / "checkpoint.pt")
    assert state is not None
    assert state["step"] == 4


def test_a_weight_that_is_not_finite_is_neither_kept_nor_published(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Trainer._learn

    def overflow(self: Trainer, batch: Batch, step: int) -> None:
        learn(self, batch, step)
        if step == STEPS - 1:
            with torch.no_grad():
                next(self.method.parameters())[0, 0, 0, 0] = math.inf

    monkeypatch.setattr(Trainer, "_learn", overflow)
    with pytest.raises(UserError, match=rf"not finite at step {STEPS}: a weight is nan"):
        train(tiny_params("method.name=supervised"), paths)
    state = read_checkpoint(next(paths.runs.iterdir()) / "checkpoint.pt")
    assert state is not None
    assert state["step"] == STEPS - 2
    assert not paths.final.exists()


def test_the_best_segmenter_is_chosen_by_the_head_that_is_deployed(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    upcoming = iter([(30.0, 10.0, 20.0), (20.0, 60.0, 40.0), (10.0, 20.0, 30.0)])
    names = [f"val_miou_{name}" for name in ("head_1", "head_2", "mean")]
    monkeypatch.setattr(Trainer, "_validate", lambda _: dict(zip(names, next(upcoming), strict=True)))
    train(tiny_params(), paths)
    assert load_segmenter(paths.best)[1].step == 4
    assert json.loads(paths.metrics.read_text())["best_val_miou"] == 30


def test_a_validation_between_two_rows_has_a_row_of_its_own(paths: TrainingPaths, tiny_params: LoadParams) -> None:
    params = tiny_params("train.log_every=5", "method.name=supervised", "train.head_lr_multiplier=10")
    train(params, paths)
    table = rows(paths.history)
    assert [(int(row["step"]), row["val_miou_head_1"] != "") for row in table] == [
        (4, True), (5, False), (8, True), (10, False), (12, True)
    ]  # fmt: skip
    # The rate is that of the encoder.
    assert float(table[1]["lr"]) == pytest.approx(0.02 * (1 - 4 / STEPS) ** 0.9, rel=1e-5)


def test_before_the_first_validation_there_is_no_best(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = []
    write = Trainer._write_live

    def note(self: Trainer) -> None:
        write(self)
        live.append(json.loads(paths.metrics.read_text()))

    monkeypatch.setattr(Trainer, "_write_live", note)
    train(tiny_params("train.steps=3", "train.val_every=2", "method.name=supervised"), paths)
    assert [each.get("best_step") is not None for each in live] == [False, True, True]
    assert ["best_val_miou" in each for each in live] == [False, True, True]


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


def test_dropout_draws_otherwise_with_another_seed(
    paths: TrainingPaths, tiny_params: LoadParams, dropout_seeds: list[int]
) -> None:
    for seed in (0, 1):
        train(tiny_params("train.steps=1", "method.name=supervised", f"train.seed={seed}"), paths)
    assert dropout_seeds[0] != dropout_seeds[1]


def test_every_step_is_in_training_mode_and_moves_the_running_statistics(
    paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients, modes = Trainer._gradients, []

    def note(self: Trainer, batch: Batch, step: int) -> list[dict[str, Tensor]]:
        modes.append(all(module.training for module in self.method.modules()))
        if step == 3 and len(modes) == 4:
            raise KeyboardInterrupt
        return gradients(self, batch, step)

    monkeypatch.setattr(Trainer, "_gradients", note)
    params = tiny_params("train.steps=4", "train.val_every=1", "method.name=supervised")
    with pytest.raises(KeyboardInterrupt):
        train(params, paths)
    train(params, paths)
    assert modes == [True] * 6  # the last two after a start from the checkpoint of step 2
    state = load_segmenter(paths.final)[0].state_dict()
    assert {int(value) for name, value in state.items() if name.endswith("num_batches_tracked")} == {4}


def test_the_scores_of_training_are_those_of_its_segmenter_on_val(
    undisturbed: TrainingPaths, tiny_params: LoadParams, tiny_dataset: Path, tiny_manifest: Manifest
) -> None:
    segmenter, info = load_segmenter(undisturbed.final)[0], DatasetInfo.read(tiny_dataset)
    samples, last = tiny_manifest.subset("val"), rows(undisturbed.history)[-1]
    expected = validate_miou(segmenter, samples, tiny_dataset, info, tiny_params().evaluate, torch.device("cpu"))
    assert {name: float(last[f"val_miou_{name}"]) for name in expected} == pytest.approx(expected, rel=1e-4)


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


@pytest.mark.parametrize("broken", [None, 0, 1])
def test_every_part_of_a_batch_counts_in_the_history_and_is_watched(
    broken: int | None, paths: TrainingPaths, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients, seen = Trainer._gradients, []

    def note(self: Trainer, batch: Batch, step: int) -> list[dict[str, Tensor]]:
        records = gradients(self, batch, step)
        if step == 1 and broken is not None:
            records[broken] = {name: value * math.nan for name, value in records[broken].items()}
        seen.append([float(record["loss"]) for record in records])
        return records

    monkeypatch.setattr(Trainer, "_gradients", note)
    changes = ("train.steps=2", "train.val_every=2", "train.batch_labeled=4", "train.accumulation=2")
    params = tiny_params(*changes, "train.batch_unlabeled=4", "method.name=supervised")
    if broken is not None:
        with pytest.raises(UserError, match="not finite at step 2: loss is nan"):
            train(params, paths)
        return
    train(params, paths)
    assert seen[0][0] != seen[0][1]
    assert [float(row["loss"]) for row in rows(paths.history)] == pytest.approx([sum(s) / 2 for s in seen], rel=1e-5)
