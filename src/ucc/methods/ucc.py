"""UCC: uncertainty guided cross-head co-training (Fan, Gao, Jin, Jiang, CVPR 2022).

Two heads on one encoder. Each learns from the labelled images and, on a strong view, from the hard pseudo labels
that the other one gave to the weak view of the same unlabelled image.
"""

from dataclasses import replace
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ucc.config import Params
from ucc.copy_paste import ClassConfidence, Paste, PasteDraws, class_presence, draw_paste
from ucc.data.batch import LabeledBatch, UnlabeledBatch
from ucc.distributed import gather, rank, share
from ucc.losses import pixel_cross_entropy, weighted_mean
from ucc.methods.base import SemiSupervised, Terms, labeled_loss
from ucc.methods.passes import student_logits, teacher_probabilities
from ucc.models import Segmenter, build_segmenter
from ucc.uncertainty import reweight


class Teaching(NamedTuple):
    """What head m teaches its peer on unlabelled images: int64 labels (U, H, W) and float weights u_m (U, H, W)."""

    labels: Tensor
    weights: Tensor


class Donors(NamedTuple):
    """What is pasted from: the labelled images (A, 3, H, W) of all processes, by slot, and their masks (A, H, W)."""

    images: Tensor
    masks: Tensor


class UCC(SemiSupervised):
    """Eqs. 1-12."""

    strong_views: ClassVar[int] = 2
    pasted: Tensor

    def __init__(self, segmenter: Segmenter, params: Params) -> None:
        super().__init__(segmenter, params)
        self.confidence = ClassConfidence(segmenter.num_classes, self.params.copy_paste.ema_decay)
        self.register_buffer("pasted", torch.zeros(segmenter.num_classes, dtype=torch.int64))

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """Two heads on one encoder, or on one each (`method.sharing`, table 7)."""
        shared = params.method.sharing == "cross_head"
        segmenter = build_segmenter(params.model, num_classes, heads=2, seed=params.train.seed, shared_encoder=shared)
        return cls(segmenter, params)

    def class_figures(self) -> dict[str, Tensor]:
        """sigma of Eq. 6, from which DCSCP draws, and into how many images each class has been pasted so far."""
        return {"confidence": self.confidence.value, "pasted": self.pasted}

    def labeled_step(self, labeled: LabeledBatch, step: int) -> Tensor:
        """Eq. 1 on labelled images, some of them pasted into."""
        donors = _all_donors(labeled)
        labeled = self._paste_labeled(labeled, donors, self._category_probabilities(donors.masks), step)
        return self._supervised_loss(self.segmenter(labeled.images), labeled.masks)

    def full_step(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, step: int) -> Terms:
        """Pseudo labels without gradient, then labelled and strong images with gradient."""
        donors = _all_donors(labeled)
        categories = self._category_probabilities(donors.masks)
        pasted = self._paste_labeled(labeled, donors, categories, step)
        taught = self._pseudo_labels(unlabeled)
        agreement = share(taught[0].labels == taught[1].labels, unlabeled.weak_valid)
        if self.params.copy_paste.mode in ("cscp", "dcscp"):
            unlabeled, taught = self._paste_unlabeled(donors, unlabeled, taught, categories, step)
        labeled_logits, strong_logits = student_logits(
            self.segmenter, pasted.images, unlabeled.strong, self.params.unlabeled_batchnorm
        )
        loss_sup = self._supervised_loss(labeled_logits, pasted.masks)
        terms = self._cross_supervision(strong_logits, unlabeled.strong_valid, taught)
        record = {"agreement": agreement} | _shares_used(taught, unlabeled.strong_valid)
        return Terms(loss_sup, terms[0] + terms[1], record)

    def _supervised_loss(self, logits: list[Tensor], masks: Tensor) -> Tensor:
        """Eq. 1; also feeds the class confidences with what it sees (Eq. 6)."""
        self.confidence.update([functional.softmax(head.detach(), dim=1) for head in logits], masks)
        return labeled_loss(logits, masks, self.params.ohem)

    @torch.no_grad()
    def _pseudo_labels(self, unlabeled: UnlabeledBatch) -> list[Teaching]:
        """Eq. 2 and Eqs. 7-10: labels and weights of both heads on the weak view."""
        probabilities = teacher_probabilities(self.segmenter, unlabeled.weak, self.params.teacher_batchnorm)
        (confidence_1, labels_1), (confidence_2, labels_2) = (p.max(dim=1) for p in probabilities)
        u_1, u_2 = reweight(confidence_1, confidence_2, self.params.uncertainty.rule)
        return [
            Teaching(labels_1, u_1 * unlabeled.weak_valid),
            Teaching(labels_2, u_2 * unlabeled.weak_valid),
        ]

    def _cross_supervision(self, logits: list[Tensor], valid: Tensor, taught: list[Teaching]) -> list[Tensor]:
        """Eqs. 3 and 12: each head's loss on what its peer teaches."""
        terms = []
        for student, teaching in ((1, taught[0]), (0, taught[1])):
            seen = valid[student % len(valid)].float()
            weights = teaching.weights * seen
            over = weights if self.params.uncertainty.normalize == "weights" else seen
            terms.append(weighted_mean(pixel_cross_entropy(logits[student], teaching.labels), weights, over))
        return terms

    def _category_probabilities(self, masks: Tensor) -> Tensor:
        if self.params.copy_paste.mode in ("dcp", "dcscp"):
            return self.confidence.category_probabilities(masks)
        return class_presence(masks, self.segmenter.num_classes).float()

    def _paste_labeled(self, labeled: LabeledBatch, donors: Donors, categories: Tensor, step: int) -> LabeledBatch:
        if self.params.copy_paste.mode == "none":
            return labeled
        draws = PasteDraws.of((self.schedule.seed, "paste labeled", step), labeled.slots.tolist())
        paste = draw_paste(
            donors.images,
            donors.masks,
            categories,
            draws,
            self.params.copy_paste.probability,
            within=True,
            first=rank() * len(labeled.images),
        )
        self._count(paste)
        return replace(labeled, images=paste.into_images(labeled.images), masks=paste.into_labels(labeled.masks))

    def _paste_unlabeled(
        self,
        donors: Donors,
        unlabeled: UnlabeledBatch,
        taught: list[Teaching],
        categories: Tensor,
        step: int,
    ) -> tuple[UnlabeledBatch, list[Teaching]]:
        """Decision K: into the strong views and the pseudo labels, with full weight for both heads."""
        draws = PasteDraws.of((self.schedule.seed, "paste unlabeled", step), unlabeled.slots.tolist())
        paste: Paste = draw_paste(
            donors.images, donors.masks, categories, draws, self.params.copy_paste.probability, within=False
        )
        self._count(paste)
        strong = torch.stack([paste.into_images(view) for view in unlabeled.strong])
        pasted = [Teaching(paste.into_labels(t.labels), torch.where(paste.mask, 1.0, t.weights)) for t in taught]
        return replace(unlabeled, strong=strong, strong_valid=unlabeled.strong_valid | paste.mask), pasted

    def _count(self, paste: Paste) -> None:
        happened = paste.mask.any(dim=(1, 2)).long()
        self.pasted.index_add_(0, gather(paste.category), gather(happened))


def _all_donors(labeled: LabeledBatch) -> Donors:
    # As bytes, the masks are an eighth of what int64 would move.
    return Donors(gather(labeled.images), gather(labeled.masks.to(torch.uint8)).long())


def _shares_used(taught: list[Teaching], valid: Tensor) -> dict[str, Tensor]:
    """Share of the pixels that each term of L_u uses: term m is what head m teaches."""
    used = [(teaching.weights > 0) & valid[(1 - index) % len(valid)] for index, teaching in enumerate(taught)]
    return {f"used_by_term_{index + 1}": pixels.float().mean() for index, pixels in enumerate(used)}
