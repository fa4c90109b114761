"""The baseline: one head, trained on the labelled images alone."""

from typing import ClassVar, Self

from ucc.config import OhemParams, Params
from ucc.data.batch import Batch
from ucc.methods.base import Method, StepLosses, labeled_loss
from ucc.models import Segmenter, build_segmenter


class Supervised(Method):
    """Cross-entropy on the weak view of labelled images (Eq. 1 with a single head)."""

    uses_unlabeled: ClassVar[bool] = False

    def __init__(self, segmenter: Segmenter, ohem: OhemParams) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.ohem = ohem

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """The method with a freshly initialised segmenter of one head."""
        return cls(build_segmenter(params.model, num_classes, heads=1, seed=params.train.seed), params.method.ohem)

    def forward(self, batch: Batch, _step: int) -> StepLosses:
        """The labelled loss."""
        loss = labeled_loss(self.segmenter(batch.labeled.images), batch.labeled.masks, self.ohem)
        return StepLosses(loss, {"loss": loss.detach(), "loss_sup": loss.detach()})
