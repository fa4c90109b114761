"""CCT: what its auxiliary decoders learn, and where that reaches."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ucc.config import Params
from ucc.data.batch import Batch
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.methods import build_method
from ucc.methods.cct import CCT
from ucc.models.segmenter import upsample
from ucc.perturbations import PERTURBATIONS, Decode

LoadParams = Callable[..., Params]
CLASSES = 3
NAMES = ("feature_noise", "feature_drop")


@pytest.fixture(scope="module")
def batch(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> Batch:
    return StepBatches(tiny_dataset, tiny_manifest, tiny_params(), unlabeled=True)[0]


@pytest.fixture
def cct(tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch) -> CCT:
    """Two auxiliary decoders; the perturbation of one doubles the features, that of the other trebles them."""

    def times(factor: int) -> Callable[..., Tensor]:
        def perturb(features: Tensor, probabilities: Tensor, decode: Decode) -> Tensor:  # noqa: ARG001
            return factor * features

        return perturb

    for factor, name in enumerate(NAMES, start=2):
        monkeypatch.setitem(cast(dict[str, object], PERTURBATIONS), name, times(factor))
    changes = (
        f"method.cct.perturbations=[{','.join(NAMES)}]",
        "method.unlabeled_batchnorm=separate",
        "model.dropout=0",
    )
    method = build_method(tiny_params("method.name=cct", *changes), CLASSES)
    assert isinstance(method, CCT)
    return method


def test_the_loss_is_the_distance_between_main_and_auxiliary_output(cct: CCT, batch: Batch) -> None:
    assert batch.unlabeled is not None
    with torch.no_grad():
        low, high = cct.segmenter.encode(batch.unlabeled.weak)
        target = functional.softmax(cct.segmenter.decode(0, (low, high), (32, 32)), dim=1)
        learned = [
            functional.softmax(upsample(head((low, factor * high)), (32, 32)), dim=1)
            for factor, head in enumerate(cct.auxiliary, start=2)
        ]
    pixels = batch.unlabeled.weak_valid
    distances = [((output - target) ** 2).mean(dim=1)[pixels].mean() for output in learned]
    torch.testing.assert_close(cct(batch, 0).record["loss_unsup"], sum(distances) / len(distances))


def test_consistency_trains_auxiliary_decoders_and_encoder_but_not_the_main_decoder(cct: CCT, batch: Batch) -> None:
    assert batch.unlabeled is not None
    cct.full_step(batch.labeled, batch.unlabeled, 0).unsup.backward()
    assert all(parameter.grad is None for parameter in cct.segmenter.heads.parameters())
    for part in (cct.segmenter.encoders, cct.auxiliary):
        assert max(float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None) > 0


def test_every_perturbation_trains(batch: Batch, tiny_params: LoadParams) -> None:
    for name in PERTURBATIONS:
        method = build_method(tiny_params("method.name=cct", f"method.cct.perturbations=[{name}]"), CLASSES)
        losses = method(batch, 0)
        losses.total.backward()
        assert torch.isfinite(losses.total), name
        assert losses.record["loss_unsup"] > 0, name
