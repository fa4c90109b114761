"""GCT: who teaches whom, by a flaw detector that says what the test wants."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from slow_reference import PixelHeads, random_batch, slow_supervised
from torch import Tensor, nn

from ucc.config import Params
from ucc.methods.gct import GCT
from ucc.models import Segmenter

LoadParams = Callable[..., Params]
THRESHOLD = 0.6


class Judge(nn.Module):
    """Calls the predictions of head 1, then of head 2, flawed to the given degrees; right on labelled images."""

    def __init__(self, *flaws: float) -> None:
        super().__init__()
        self.flaws = nn.Parameter(torch.tensor(flaws))
        self.calls = 0

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:  # noqa: ARG002
        self.calls += 1
        flaw = self.flaws[(self.calls - 1) % 2]
        return flaw + 0 * probabilities.sum(dim=1)


@pytest.mark.parametrize(
    ("flaws", "learners", "corrected"),
    [
        ((0.1, 0.3), (False, True), False),
        ((0.5, 0.2), (True, False), False),
        ((0.3, 0.3), (False, False), False),
        ((0.7, 0.3), (True, False), False),
        ((0.7, 0.9), (False, False), True),
    ],
)
def test_the_network_with_the_smaller_flaw_teaches_and_two_flawed_ones_are_corrected(
    flaws: tuple[float, float], learners: tuple[bool, bool], corrected: bool, tiny_params: LoadParams
) -> None:
    params = tiny_params("method.name=gct", f"method.gct.flaw_threshold={THRESHOLD}", "method.gct.correction_weight=2")
    stub, batch = PixelHeads(), random_batch(1)
    assert batch.unlabeled is not None
    gct = GCT(cast(Segmenter, stub), Judge(*flaws), params)
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


def test_the_detector_learns_from_labeled_images_alone(tiny_params: LoadParams) -> None:
    stub, batch = PixelHeads(), random_batch(1)
    assert batch.unlabeled is not None
    gct = GCT(cast(Segmenter, stub), Judge(0.2, 0.4), tiny_params("method.name=gct"))
    terms = gct.full_step(batch.labeled, batch.unlabeled, 0)
    terms.sup.backward()
    judge = cast(Judge, gct.detector)
    assert judge.flaws.grad is not None
    assert judge.flaws.grad.abs().max() > 0
    assert terms.sup.item() > slow_supervised(stub.scores(batch.labeled.images), batch.labeled.masks.numpy())
