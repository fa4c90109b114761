"""What every training method has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ucc.config import OhemParams, Params
from ucc.data.batch import Batch, LabeledBatch, UnlabeledBatch, step_uses_unlabeled
from ucc.distributed import world
from ucc.losses import mean_cross_entropy, ohem_cross_entropy, scaled_min_kept
from ucc.models import Segmenter


class StepLosses(NamedTuple):
    """The loss to minimise (a scalar), and detached scalars worth recording under their names."""

    total: Tensor
    record: dict[str, Tensor]


class Terms(NamedTuple):
    """L_s and L_u of Eq. 4 (scalars), and further scalars worth recording."""

    sup: Tensor
    unsup: Tensor
    record: dict[str, Tensor]


class Method(nn.Module, ABC):
    """An object with a training step and the modules it trains.

    `forward` is the training step, so that wrappers of modules (DDP) see one forward per step. Whatever must
    survive an interruption is a parameter or a buffer; what is not trained does not require gradients.
    `segmenter` is what training is for: validated, saved and exported.
    """

    uses_unlabeled: ClassVar[bool]
    # How many views it looks at beside the weak one, at most.
    strong_views: ClassVar[int] = 0
    # Whether some of what it trains has no part in the steps of the supervised warm-up.
    idle_in_warmup: ClassVar[bool] = False
    segmenter: Segmenter

    @classmethod
    @abstractmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """The method with a freshly initialised segmenter, as params.yaml describes it."""

    def class_figures(self) -> dict[str, Tensor]:
        """What the method keeps track of for each class, under the names of `ucc.history.CLASS_FIGURES`: (C,) each."""
        return {}

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> StepLosses:
        """Losses on this process's share of the global batch of a step, or of a part of it (`train.accumulation`)."""


class SemiSupervised(Method):
    """`L = L_s + lambda L_u` (Eq. 4), where lambda grows after a supervised warm-up (decision V)."""

    uses_unlabeled: ClassVar[bool] = True

    def __init__(self, segmenter: Segmenter, params: Params) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.params = params.method
        self.schedule = params.train

    @abstractmethod
    def labeled_step(self, labeled: LabeledBatch, step: int) -> Tensor:
        """L_s of a step without unlabelled images."""

    @abstractmethod
    def full_step(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, step: int) -> Terms:
        """L_s and L_u of a step with unlabelled images."""

    def unsup_weight(self, step: int) -> float:
        """lambda at a step: 0 in the warm-up, then linearly up to `method.unsup_weight`."""
        if not step_uses_unlabeled(self.params, self.schedule, step):
            return 0.0
        ramp, since = self.schedule.unsup_rampup, step - self.schedule.supervised_warmup
        return self.params.unsup_weight * min(1.0, (since + 1) / (ramp + 1))

    def forward(self, batch: Batch, step: int) -> StepLosses:
        """Losses of one step: L_s alone as long as unlabelled images do not count, and the batch need hold none."""
        weight = self.unsup_weight(step)
        if weight == 0 or batch.unlabeled is None:
            loss = self.labeled_step(batch.labeled, step)
            return StepLosses(loss, {"loss": loss.detach(), "loss_sup": loss.detach()})
        terms = self.full_step(batch.labeled, batch.unlabeled, step)
        loss = terms.sup + weight * terms.unsup
        record = {"loss": loss, "loss_sup": terms.sup, "loss_unsup": terms.unsup} | terms.record
        return StepLosses(loss, {name: value.detach() for name, value in record.items()})


def labeled_loss(logits: list[Tensor], target: Tensor, ohem: OhemParams) -> Tensor:
    """Eq. 1: cross-entropy on labelled images, summed over the heads, with OHEM if switched on (decision P).

    Logits are (B, C, H, W) per head, the target is (B, H, W), of equal size in all processes.
    """
    if ohem.enabled:
        images, height, width = target.shape
        kept = scaled_min_kept(ohem.min_kept, images * world(), height, width)
        losses = [ohem_cross_entropy(head, target, ohem.threshold, kept) for head in logits]
    else:
        losses = [mean_cross_entropy(head, target) for head in logits]
    return torch.stack(losses).sum()
