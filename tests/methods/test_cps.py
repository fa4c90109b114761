"""CPS against its formula, pixel by pixel."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
from slow_reference import CLASSES, PixelHeads, random_batch, shares_of, slow_agreement, slow_supervised, softmax

from ucc.config import Params
from ucc.methods import build_method
from ucc.methods.cps import CPS
from ucc.models import Segmenter

LoadParams = Callable[..., Params]


@pytest.mark.parametrize("batchnorm", ["joint", "separate", "untracked"])
def test_a_step_is_what_the_paper_says(batchnorm: str, tiny_params: LoadParams) -> None:
    stub = PixelHeads()
    params = tiny_params("method.name=cps", f"method.unlabeled_batchnorm={batchnorm}", "method.unsup_weight=1.5")
    batch = random_batch(1)
    assert batch.unlabeled is not None
    losses = CPS(cast(Segmenter, stub), params)(batch, 0)
    scores, valid = stub.scores(batch.unlabeled.weak), batch.unlabeled.weak_valid.numpy()
    loss_unsup = 0.0
    for student, teacher in ((0, 1), (1, 0)):
        pixels = [
            -np.log(softmax(scores[student][b, :, y, x])[scores[teacher][b, :, y, x].argmax()])
            for b, y, x in np.argwhere(valid)
        ]
        loss_unsup += float(np.mean(pixels))
    loss_sup = slow_supervised(stub.scores(batch.labeled.images), batch.labeled.masks.numpy())
    assert losses.record["loss_unsup"].item() == pytest.approx(loss_unsup, rel=1e-5)
    assert losses.record["loss"].item() == pytest.approx(loss_sup + 1.5 * loss_unsup, rel=1e-5)
    used = int(valid.sum()) / valid.size  # each head learns wherever there is an image
    expected = {"agreement": slow_agreement(*scores, valid), "used_by_term_1": used, "used_by_term_2": used}
    assert shares_of(losses.record) == pytest.approx(expected)


def test_the_networks_share_nothing(tiny_params: LoadParams) -> None:
    segmenter = build_method(tiny_params("method.name=cps"), CLASSES).segmenter
    assert (len(segmenter.encoders), len(segmenter.heads)) == (2, 2)
    first, second = ({p.data_ptr() for p in encoder.parameters()} for encoder in segmenter.encoders)
    assert not first & second
