"""Mean teacher (Tarvainen, Valpola, "Mean teachers are better role models", NeurIPS 2017)."""

from copy import deepcopy
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from ucc.config import Params
from ucc.data.batch import LabeledBatch, UnlabeledBatch
from ucc.distributed import denominator, share
from ucc.losses import mean_squared_distance
from ucc.methods.base import SemiSupervised, Terms, labeled_loss
from ucc.methods.passes import student_logits, teacher_probabilities
from ucc.models import Segmenter, build_segmenter


class MeanTeacher(SemiSupervised):
    """The student learns to predict on its view what the teacher, its moving average, predicts on the weak one.

    `segmenter` is the teacher, which the paper evaluates too. It averages the student as each step finds it, so
    the update of the last step is not in it.
    """

    strong_views: ClassVar[int] = 1

    def __init__(self, segmenter: Segmenter, params: Params) -> None:
        super().__init__(segmenter.requires_grad_(False), params)
        self.student = deepcopy(segmenter).requires_grad_(True)
        self._updated_at = -1

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """Teacher and student start as the same network of one head."""
        return cls(build_segmenter(params.model, num_classes, heads=1, seed=params.train.seed), params)

    def labeled_step(self, labeled: LabeledBatch, step: int) -> Tensor:
        """The student's classification cost."""
        self._update_teacher(step)
        return labeled_loss(self.student(labeled.images), labeled.masks, self.params.ohem)

    def full_step(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, step: int) -> Terms:
        """Classification cost, and the consistency cost J: the mean squared error between softmax outputs."""
        self._update_teacher(step)
        (target,) = teacher_probabilities(self.segmenter, unlabeled.weak, self.params.teacher_batchnorm)
        labeled_logits, (logits,) = student_logits(
            self.student, labeled.images, unlabeled.strong[:1], self.params.unlabeled_batchnorm
        )
        loss_sup = labeled_loss(labeled_logits, labeled.masks, self.params.ohem)
        valid = unlabeled.weak_valid & unlabeled.strong_valid[0]
        probabilities = functional.softmax(logits, dim=1)
        agreement = share(probabilities.argmax(1) == target.argmax(1), valid)
        loss_unsup = mean_squared_distance(probabilities, target, valid, over=denominator(valid.sum()))
        return Terms(loss_sup, loss_unsup, {"agreement": agreement})

    @torch.no_grad()
    def _update_teacher(self, step: int) -> None:
        """theta' = alpha theta' + (1 - alpha) theta, with the true average while that is the faster one.

        BatchNorm's running statistics are averaged alike; its counters of batches are copied. However many parts
        the batch of a step has, the first of them updates the teacher.
        """
        if step == self._updated_at:
            return
        self._updated_at = step
        alpha = min(1 - 1 / (step + 1), self.params.mean_teacher.ema_decay)
        student = self.student.state_dict()
        for name, value in self.segmenter.state_dict().items():
            if value.is_floating_point():
                value.lerp_(student[name], 1 - alpha)
            else:
                value.copy_(student[name])
