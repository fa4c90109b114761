"""CPS: cross pseudo supervision (Chen, Yuan, Zeng, Wang, CVPR 2021)."""

from typing import Self

from torch import Tensor

from ucc.config import Params
from ucc.data.batch import LabeledBatch, UnlabeledBatch
from ucc.distributed import share
from ucc.losses import IGNORE, mean_cross_entropy
from ucc.methods.base import SemiSupervised, Terms, labeled_loss
from ucc.methods.passes import student_logits, teacher_probabilities
from ucc.models import build_segmenter


class CPS(SemiSupervised):
    """Two differently initialised networks; each learns the hard labels of the other on the same view."""

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """Two networks: equal start weights of the encoders, if given, and random heads of their own."""
        seed = params.train.seed
        return cls(build_segmenter(params.model, num_classes, heads=2, seed=seed, shared_encoder=False), params)

    def labeled_step(self, labeled: LabeledBatch, _step: int) -> Tensor:
        """The supervision loss L_s."""
        return labeled_loss(self.segmenter(labeled.images), labeled.masks, self.params.ohem)

    def full_step(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, _step: int) -> Terms:
        """L_s and the cross pseudo supervision loss L_cps^u, the mean over pixels of CE(p_1, y_2) + CE(p_2, y_1)."""
        probabilities = teacher_probabilities(self.segmenter, unlabeled.weak, self.params.teacher_batchnorm)
        valid = unlabeled.weak_valid
        labels = [p.argmax(dim=1).masked_fill(~valid, IGNORE) for p in probabilities]
        labeled_logits, logits = student_logits(
            self.segmenter, labeled.images, unlabeled.weak.unsqueeze(0), self.params.unlabeled_batchnorm
        )
        loss_sup = labeled_loss(labeled_logits, labeled.masks, self.params.ohem)
        loss_unsup = mean_cross_entropy(logits[0], labels[1]) + mean_cross_entropy(logits[1], labels[0])
        agreement = share(labels[0] == labels[1], valid)
        used = valid.float().mean()
        return Terms(loss_sup, loss_unsup, {"agreement": agreement, "used_by_term_1": used, "used_by_term_2": used})
