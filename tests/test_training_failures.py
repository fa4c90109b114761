"""What ends a training names itself and the remedy, and leaves the checkpoint of before."""

import errno
import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import STEPS, LoadParams

from ucc.checkpoints import read_checkpoint
from ucc.data.batch import Batch
from ucc.errors import UserError
from ucc.methods import StepLosses
from ucc.methods.ucc import UCC
from ucc.torch_files import write_torch
from ucc.training import Trainer, TrainingPaths, train


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
