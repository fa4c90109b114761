"""GCT: guided collaborative training (Ke, Qiu, Li, Yan, Lau, ECCV 2020)."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ucc.config import Params
from ucc.data.batch import LabeledBatch, UnlabeledBatch
from ucc.distributed import denominator, share
from ucc.flaws import FlawDetector, flaw_target
from ucc.losses import mean_squared_distance
from ucc.methods.base import SemiSupervised, Terms, labeled_loss
from ucc.methods.passes import student_logits
from ucc.models import Segmenter, build_segmenter
from ucc.seeding import seed as derive_seed


class GCT(SemiSupervised):
    """Two networks, and a flaw detector that says for each pixel which of them may teach the other.

    The dynamic consistency constraint is the squared distance from network k to the other one where k's flaw
    probability is the higher; the flaw correction constraint is the squared flaw probability where both exceed the
    threshold (section 3 of the paper).

    As everywhere here, the constraints apply to the unlabelled images; the detector learns from labelled ones and
    is part of L_s. It is trained by the common optimiser at the heads' rate.
    """

    def __init__(self, segmenter: Segmenter, detector: nn.Module, params: Params) -> None:
        super().__init__(segmenter, params)
        self.detector = detector

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """Two networks as in CPS, and a flaw detector from a random stream of its own."""
        seed = params.train.seed
        segmenter = build_segmenter(params.model, num_classes, heads=2, seed=seed, shared_encoder=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "flaw detector"))
            detector = FlawDetector(num_classes)
        return cls(segmenter, detector, params)

    def labeled_step(self, labeled: LabeledBatch, _step: int) -> Tensor:
        """Both task losses and the detector's."""
        return self._labeled_loss(self.segmenter(labeled.images), labeled)

    def full_step(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, _step: int) -> Terms:
        """L_s, and for each network the dynamic consistency and the flaw correction constraint of the paper."""
        views = unlabeled.weak.unsqueeze(0)
        labeled_logits, logits = student_logits(self.segmenter, labeled.images, views, self.params.unlabeled_batchnorm)
        loss_sup = self._labeled_loss(labeled_logits, labeled)
        probabilities = [functional.softmax(head, dim=1) for head in logits]
        flaws = [self._judge(unlabeled.weak, p) for p in probabilities]
        threshold, valid = self.params.gct.flaw_threshold, unlabeled.weak_valid
        # Beyond the threshold a prediction counts as wrong altogether; of two wrong ones none teaches.
        handled = [torch.where(flaw > threshold, 1.0, flaw.detach()) for flaw in flaws]
        both_wrong = (handled[0] == 1) & (handled[1] == 1) & valid
        pixels = denominator(valid.sum())
        losses, used = [], []
        for own, peer in ((0, 1), (1, 0)):
            learns = (handled[own] > handled[peer]) & valid
            consistency = mean_squared_distance(probabilities[own], probabilities[peer], learns, over=pixels)
            correction = (flaws[own].square() * both_wrong).sum() / pixels
            losses.append(consistency + self.params.gct.correction_weight * correction)
            used.append(learns.float().mean())
        labels = [p.argmax(dim=1) for p in probabilities]
        agreement = share(labels[0] == labels[1], valid)
        # Term m is what network m teaches, so the pixels on which its peer learns.
        record = {"agreement": agreement, "used_by_term_1": used[1], "used_by_term_2": used[0]}
        return Terms(loss_sup, losses[0] + losses[1], record | {"both_wrong": both_wrong.float().mean()})

    def _labeled_loss(self, logits: list[Tensor], labeled: LabeledBatch) -> Tensor:
        task = labeled_loss(logits, labeled.masks, self.params.ohem)
        detection = []
        for head in logits:
            probabilities = functional.softmax(head.detach(), dim=1)
            target = flaw_target(probabilities, labeled.masks)
            detection.append((self.detector(labeled.images, probabilities) - target).square().mean())
        return task + torch.stack(detection).sum()

    def _judge(self, images: Tensor, probabilities: Tensor) -> Tensor:
        """Flaw probabilities (B, H, W), with gradient into the predictions but not into the detector."""
        frozen = {name: value.detach() for name, value in self.detector.named_parameters()}
        flaws: Tensor = functional_call(self.detector, frozen, (images, probabilities))
        return flaws
