"""What a training leaves: segmenters, their history and scores, and how they come about."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from trainings import STEPS, LoadParams, places, rows

from ucc.data.batch import Batch
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.evaluation import validate_miou
from ucc.models.store import load_segmenter
from ucc.runs import data_hash, fingerprint
from ucc.training import Trainer, TrainingPaths, train


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
