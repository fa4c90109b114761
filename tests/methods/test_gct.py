"""GCT: who teaches whom, by a flaw detector that says what the test wants."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from slow_reference import Array, PixelHeads, random_batch, shares_of, slow_agreement, slow_supervised, softmax
from torch import Tensor, nn

from ucc.config import Params
from ucc.flaws import flaw_target
from ucc.methods.gct import GCT
from ucc.models import Segmenter

LoadParams = Callable[..., Params]
THRESHOLD = 0.4  # not the default
MAP = (3, 8, 6)  # as many images as there are at most in `random_batch`, their height and width


class Judge(nn.Module):
    """Calls the pixels of head 1, then of head 2, flawed to the given degrees, float (2, *MAP), labelled or not."""

    def __init__(self, flaws: Tensor) -> None:
        super().__init__()
        self.flaws = nn.Parameter(flaws)
        self.calls = 0

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:
        self.calls += 1
        return self.flaws[(self.calls - 1) % 2][: len(images)] + 0 * probabilities.sum(dim=1)


def everywhere(*flaws: float) -> Tensor:
    """The same degree at every pixel of a head."""
    return torch.tensor(flaws).view(2, 1, 1, 1).repeat(1, *MAP)


@pytest.mark.parametrize(
    ("flaws", "learners", "corrected"),
    [
        ((0.1, 0.3), (False, True), False),
        ((0.3, 0.2), (True, False), False),
        ((0.3, 0.3), (False, False), False),
        ((0.7, 0.3), (True, False), False),
        ((0.5, 0.9), (False, False), True),
    ],
)
def test_the_network_with_the_smaller_flaw_teaches_and_two_flawed_ones_are_corrected(
    flaws: tuple[float, float], learners: tuple[bool, bool], corrected: bool, tiny_params: LoadParams
) -> None:
    params = tiny_params("method.name=gct", f"method.gct.flaw_threshold={THRESHOLD}", "method.gct.correction_weight=2")
    stub, batch = PixelHeads(), random_batch(1)
    assert batch.unlabeled is not None
    gct = GCT(cast(Segmenter, stub), Judge(everywhere(*flaws)), params)
    terms = gct.full_step(batch.labeled, batch.unlabeled, 0)
    valid = batch.unlabeled.weak_valid
    first, second = (torch.from_numpy(scores).softmax(dim=1) for scores in stub.scores(batch.unlabeled.weak))
    distance = ((first - second) ** 2).mean(dim=1)[valid].mean()
    expected = sum(learners) * float(distance) + corrected * 2 * (flaws[0] ** 2 + flaws[1] ** 2)
    assert terms.unsup.item() == pytest.approx(expected, rel=1e-4)
    terms.unsup.backward()
    for head, learns in zip(stub.heads, learners, strict=True):
        gradient = head.weight.grad
        assert (gradient is not None and bool(gradient.abs().max() > 0)) is learns
    assert cast(Judge, gct.detector).flaws.grad is None


def slow_constraints(
    probabilities: list[Array], flaws: Array, valid: NDArray[np.bool_]
) -> tuple[float, float, list[float], float]:
    """Both constraints, the share of the pixels that each network teaches on, and that on which both are wrong."""
    consistency = correction = 0.0
    taught, wrong = [0, 0], 0
    for b, y, x in np.argwhere(valid):
        flaw = [float(flaws[network, b, y, x]) for network in (0, 1)]
        handled = [1.0 if degree > THRESHOLD else degree for degree in flaw]
        if handled == [1.0, 1.0]:
            correction += flaw[0] ** 2 + flaw[1] ** 2
            wrong += 1
        elif handled[0] != handled[1]:
            teacher = handled.index(min(handled))
            difference = probabilities[0][b, :, y, x] - probabilities[1][b, :, y, x]
            consistency += float(np.mean(difference**2))
            taught[teacher] += 1
    pixels = int(valid.sum())
    return consistency / pixels, correction / pixels, [count / valid.size for count in taught], wrong / valid.size


def test_every_pixel_has_a_teacher_of_its_own(tiny_params: LoadParams) -> None:
    params = tiny_params("method.name=gct", f"method.gct.flaw_threshold={THRESHOLD}", "method.gct.correction_weight=2")
    stub, batch = PixelHeads(), random_batch(1)
    assert batch.unlabeled is not None
    # The second network is the worse one on the whole, and the first one all the same at many a pixel.
    flaws = np.random.default_rng(7).random((2, *MAP), dtype=np.float32)
    flaws[1] = flaws[1] ** 0.7
    flaws[1, :, 0] = flaws[0, :, 0]
    gct = GCT(cast(Segmenter, stub), Judge(torch.from_numpy(flaws)), params)
    terms = gct.full_step(batch.labeled, batch.unlabeled, 0)
    scores, valid = stub.scores(batch.unlabeled.weak), batch.unlabeled.weak_valid.numpy()
    probabilities = [np.apply_along_axis(softmax, 1, head) for head in scores]
    consistency, correction, taught, wrong = slow_constraints(probabilities, flaws.astype(np.float64), valid)
    assert taught[0] > taught[1] > 0 < wrong
    assert terms.unsup.item() == pytest.approx(consistency + 2 * correction, rel=1e-5)
    shares = {"used_by_term_1": taught[0], "used_by_term_2": taught[1], "both_wrong": wrong}
    expected = shares | {"agreement": slow_agreement(*scores, valid)}
    assert shares_of(terms.record) == pytest.approx(expected)


def test_the_detector_learns_from_labeled_images_alone(tiny_params: LoadParams) -> None:
    stub, batch = PixelHeads(), random_batch(1)
    assert batch.unlabeled is not None
    gct = GCT(cast(Segmenter, stub), Judge(everywhere(0.2, 0.4)), tiny_params("method.name=gct"))
    terms = gct.full_step(batch.labeled, batch.unlabeled, 0)
    terms.sup.backward()
    judge = cast(Judge, gct.detector)
    assert judge.flaws.grad is not None
    assert judge.flaws.grad.abs().max() > 0


@pytest.mark.parametrize("warmup", [0, 1])
def test_the_detector_learns_where_each_network_is_wrong_also_in_the_warm_up(
    warmup: int, tiny_params: LoadParams
) -> None:
    stub, batch = PixelHeads(), random_batch(1)
    flaws = np.random.default_rng(7).random((2, *MAP), dtype=np.float32)
    params = tiny_params("method.name=gct", f"train.supervised_warmup={warmup}")
    losses = GCT(cast(Segmenter, stub), Judge(torch.from_numpy(flaws)), params)(batch, 0)
    scores = stub.scores(batch.labeled.images)
    expected = slow_supervised(scores, batch.labeled.masks.numpy())
    for head, judged in zip(scores, flaws, strict=True):
        wrong = flaw_target(torch.from_numpy(head).softmax(dim=1), batch.labeled.masks).numpy()
        expected += float(np.mean((judged - wrong) ** 2))
    assert losses.record["loss_sup"].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(losses.total, losses.record["loss_sup"]) is bool(warmup)
