"""Mean teacher: its consistency cost against the formula, and its moving average."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from slow_reference import CLASSES, PixelHeads, random_batch, shares_of, slow_agreement, slow_supervised, softmax

from ucc.config import Params
from ucc.methods import build_method
from ucc.methods.mean_teacher import MeanTeacher
from ucc.models import Segmenter

LoadParams = Callable[..., Params]


def test_a_step_is_what_the_paper_says(tiny_params: LoadParams) -> None:
    stub = PixelHeads(heads=1)
    method = MeanTeacher(cast(Segmenter, stub), tiny_params("method.name=mean_teacher", "method.unsup_weight=3"))
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.mul_(0.5)
    batch = random_batch(2)
    assert batch.unlabeled is not None
    student = cast(PixelHeads, method.student)
    losses = method(batch, 1)
    (taught,) = stub.scores(batch.unlabeled.weak)
    (learned,) = student.scores(batch.unlabeled.strong[0])
    valid = (batch.unlabeled.weak_valid & batch.unlabeled.strong_valid[0]).numpy()
    distances = [
        np.mean((softmax(learned[b, :, y, x]) - softmax(taught[b, :, y, x])) ** 2) for b, y, x in np.argwhere(valid)
    ]
    loss_sup = slow_supervised(student.scores(batch.labeled.images), batch.labeled.masks.numpy())
    assert losses.record["loss_unsup"].item() == pytest.approx(float(np.mean(distances)), rel=1e-4)
    assert losses.total.item() == pytest.approx(loss_sup + 3 * float(np.mean(distances)), rel=1e-5)
    assert shares_of(losses.record) == pytest.approx({"agreement": slow_agreement(learned, taught, valid)})


def test_the_teacher_is_the_moving_average_of_the_student(tiny_params: LoadParams) -> None:
    decay = 0.9
    method = MeanTeacher(cast(Segmenter, PixelHeads(heads=1)), tiny_params("method.name=mean_teacher"))
    weight, followed = method.student.heads[0].weight, method.segmenter.heads[0].weight
    expected = weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            weight.add_(1.0)
        alpha = min(1 - 1 / (step + 1), decay)
        expected = alpha * expected + (1 - alpha) * weight.detach()
        method.labeled_step(random_batch(1).labeled, step)
        torch.testing.assert_close(followed.detach(), expected)


def test_running_statistics_are_averaged_and_counters_copied(tiny_params: LoadParams) -> None:
    method = build_method(tiny_params("method.name=mean_teacher"), CLASSES)
    assert isinstance(method, MeanTeacher)
    for name, value in method.student.state_dict().items():
        if "running" in name or "num_batches" in name:
            value.fill_(10)
    before = {name: value.clone() for name, value in method.segmenter.state_dict().items()}
    method._update_teacher(1)
    for name, value in method.segmenter.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 10
        elif "running" in name:
            torch.testing.assert_close(value, (before[name] + 10) / 2)
