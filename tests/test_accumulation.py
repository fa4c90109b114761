"""`train.accumulation`: a step whose batch is passed in parts does what it does in one pass."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from trainings import places

from ucc.config import Params
from ucc.data.batch import Batch
from ucc.data.dataset import DatasetInfo
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.devices import joined_devices
from ucc.methods import build_method
from ucc.methods.mean_teacher import MeanTeacher
from ucc.training import Trainer

LoadParams = Callable[..., Params]
FOUR_IMAGES = ("train.batch_labeled=4", "train.batch_unlabeled=4")


@pytest.fixture(scope="module")
def batch(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> Batch:
    return StepBatches(tiny_dataset, tiny_manifest, tiny_params(*FOUR_IMAGES), unlabeled=True)[0]


@pytest.mark.parametrize("kind", ["labeled", "unlabeled"])
def test_the_parts_of_a_batch_make_up_the_whole_in_its_order(kind: str, batch: Batch) -> None:
    whole, parts = getattr(batch, kind), [getattr(part, kind) for part in batch.split(2)]
    assert [part.slots.tolist() for part in parts] == [[0, 1], [2, 3]]
    for name in (field.name for field in fields(whole)):
        images = 1 if name.startswith("strong") else 0
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=images), getattr(whole, name)), name


def test_the_gradients_of_the_parts_add_up_to_those_of_the_whole(
    batch: Batch, tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    # Without what depends on the other images of a pass: donors, and the number of pixels that a mean is over.
    batch = replace(batch, labeled=replace(batch.labeled, masks=batch.labeled.masks % 255))
    paths, info = places(tmp_path, tiny_dataset, tiny_manifest), DatasetInfo.read(tiny_dataset)

    def gradients(parts: int) -> dict[str, Tensor]:
        params = tiny_params(*FOUR_IMAGES, "method.copy_paste.mode=none", "model.dropout=0")
        params.train.accumulation = parts
        params.train.precision = "64-true"
        with joined_devices(params.train, False) as fabric:
            trainer = Trainer(params, paths, info, tiny_manifest, tmp_path, fabric)
            trainer.wrapped.eval()  # BatchNorm over the images of a pass would make another network of it
            trainer._gradients(batch, 0)
        return {name: p.grad for name, p in trainer.method.named_parameters() if p.grad is not None}

    whole, summed = gradients(1), gradients(2)
    assert whole.keys() == summed.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(summed[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_a_teacher_is_averaged_once_a_step_however_many_parts_its_batch_has(
    batch: Batch, tiny_params: LoadParams
) -> None:
    method = build_method(tiny_params("method.name=mean_teacher"), num_classes=3)
    assert isinstance(method, MeanTeacher)
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.mul_(2)  # else teacher and student were the same, and so would be their average

    def teacher_after(part: Batch, step: int) -> Tensor:
        method.labeled_step(part.labeled, step)
        return torch.cat([value.flatten().double() for value in method.segmenter.state_dict().values()])

    first, second = batch.split(2)
    once = teacher_after(first, 1)
    assert torch.equal(teacher_after(second, 1), once)
    assert not torch.equal(teacher_after(first, 2), once)
