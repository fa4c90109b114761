"""What every training method has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

from torch import Tensor, nn

from ucc.config import OhemParams, Params
from ucc.data.batch import Batch
from ucc.losses import mean_cross_entropy, ohem_cross_entropy, scaled_min_kept
from ucc.models import Segmenter


class StepLosses(NamedTuple):
    """The loss to minimise (a scalar), and detached scalars worth recording under their names."""

    total: Tensor
    record: dict[str, Tensor]


class Method(nn.Module, ABC):
    """An object with a training step and the modules it trains.

    `forward` is the training step, so that wrappers of modules (DDP) see one forward per step. Whatever must
    survive an interruption is a parameter or a buffer.
    """

    uses_unlabeled: ClassVar[bool]
    segmenter: Segmenter

    @classmethod
    @abstractmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """The method with a freshly initialised segmenter, as params.yaml describes it."""

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> StepLosses:
        """Losses of one step on this process's share of the global batch."""


def labeled_loss(logits: Tensor, target: Tensor, ohem: OhemParams) -> Tensor:
    """Cross-entropy of one head on labelled images (a term of Eq. 1), with OHEM if switched on (decision P)."""
    if not ohem.enabled:
        return mean_cross_entropy(logits, target)
    images, height, width = target.shape
    return ohem_cross_entropy(logits, target, ohem.threshold, scaled_min_kept(ohem.min_kept, images, height, width))
