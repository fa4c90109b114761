"""UCC: uncertainty guided cross-head co-training (Fan, Gao, Jin, Jiang, CVPR 2022).

Two heads on one encoder. Each learns from the labelled images and, on a strong view, from the hard pseudo labels
that the other one gave to the weak view of the same unlabelled image.
"""

from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ucc.config import MethodParams, Params, TrainParams
from ucc.copy_paste import ClassConfidence, Paste, PasteDraws, class_presence, draw_paste
from ucc.data.batch import Batch, LabeledBatch, UnlabeledBatch
from ucc.losses import pixel_cross_entropy, weighted_mean
from ucc.methods.base import Method, StepLosses, labeled_loss
from ucc.models import Segmenter, build_segmenter
from ucc.models.encoder import Features
from ucc.models.modes import evaluation_mode, untracked_batchnorm
from ucc.uncertainty import reweight


class Teaching(NamedTuple):
    """What head m teaches its peer on unlabelled images: int64 labels (U, H, W) and float weights u_m (U, H, W)."""

    labels: Tensor
    weights: Tensor


class UCC(Method):
    """Eq. 4: `L = L_s + lambda L_u`, with lambda growing after a supervised warm-up (decision V)."""

    uses_unlabeled: ClassVar[bool] = True

    def __init__(self, segmenter: Segmenter, method: MethodParams, train: TrainParams) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.params = method
        self.schedule = train
        self.confidence = ClassConfidence(segmenter.num_classes, method.copy_paste.ema_decay)

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """The method with a freshly initialised segmenter of two heads."""
        segmenter = build_segmenter(params.model, num_classes, heads=2, seed=params.train.seed)
        return cls(segmenter, params.method, params.train)

    def unsup_weight(self, step: int) -> float:
        """lambda at a step: 0 in the warm-up, then linearly up to `method.unsup_weight`."""
        ramp, since = self.schedule.unsup_rampup, step - self.schedule.supervised_warmup
        if since < 0:
            return 0.0
        return self.params.unsup_weight * min(1.0, (since + 1) / (ramp + 1))

    def forward(self, batch: Batch, step: int) -> StepLosses:
        """Losses of one step: pseudo labels without gradient, then labelled and strong images with gradient."""
        categories = self._category_probabilities(batch.labeled.masks)
        labeled = self._paste_labeled(batch.labeled, categories, step)
        weight = self.unsup_weight(step)
        if weight == 0 or batch.unlabeled is None:
            logits = self.segmenter(labeled.images)
            loss_sup = self._supervised_loss(logits, labeled.masks)
            return StepLosses(loss_sup, {"loss": loss_sup.detach(), "loss_sup": loss_sup.detach()})

        taught = self._pseudo_labels(batch.unlabeled)
        agreement = _agreement(taught, batch.unlabeled.weak_valid)
        unlabeled = batch.unlabeled
        if self.params.copy_paste.mode in ("cscp", "dcscp"):
            unlabeled, taught = self._paste_unlabeled(batch.labeled, unlabeled, taught, categories, step)
        labeled_logits, strong_logits = self._logits(labeled.images, unlabeled.strong)
        loss_sup = self._supervised_loss(labeled_logits, labeled.masks)
        terms = self._cross_supervision(strong_logits, unlabeled.strong_valid, taught)
        loss_unsup = terms[0] + terms[1]
        loss = loss_sup + weight * loss_unsup
        record = {"loss": loss, "loss_sup": loss_sup, "loss_unsup": loss_unsup}
        record |= {"agreement": agreement} | _shares_used(taught, unlabeled.strong_valid)
        return StepLosses(loss, {name: value.detach() for name, value in record.items()})

    def _supervised_loss(self, logits: list[Tensor], masks: Tensor) -> Tensor:
        """Eq. 1; also feeds the class confidences with what it sees (Eq. 6)."""
        self.confidence.update([functional.softmax(head.detach(), dim=1) for head in logits], masks)
        return labeled_loss(logits[0], masks, self.params.ohem) + labeled_loss(logits[1], masks, self.params.ohem)

    @torch.no_grad()
    def _pseudo_labels(self, unlabeled: UnlabeledBatch) -> list[Teaching]:
        """Eq. 2 and Eqs. 7-10: labels and weights of both heads on the weak view."""
        with evaluation_mode(self.segmenter) if self.params.teacher_batchnorm == "running" else nullcontext():
            probabilities = [functional.softmax(logits, dim=1) for logits in self.segmenter(unlabeled.weak)]
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

    def _paste_labeled(self, labeled: LabeledBatch, categories: Tensor, step: int) -> LabeledBatch:
        if self.params.copy_paste.mode == "none" or len(labeled.images) < 2:
            return labeled
        draws = PasteDraws.of((self.schedule.seed, "paste labeled", step), labeled.slots.tolist())
        paste = draw_paste(
            labeled.images, labeled.masks, categories, draws, self.params.copy_paste.probability, within=True
        )
        return replace(labeled, images=paste.into_images(labeled.images), masks=paste.into_labels(labeled.masks))

    def _paste_unlabeled(
        self,
        labeled: LabeledBatch,
        unlabeled: UnlabeledBatch,
        taught: list[Teaching],
        categories: Tensor,
        step: int,
    ) -> tuple[UnlabeledBatch, list[Teaching]]:
        """Decision K: into the strong views and the pseudo labels, with full weight for both heads."""
        draws = PasteDraws.of((self.schedule.seed, "paste unlabeled", step), unlabeled.slots.tolist())
        paste: Paste = draw_paste(
            labeled.images, labeled.masks, categories, draws, self.params.copy_paste.probability, within=False
        )
        strong = torch.stack([paste.into_images(view) for view in unlabeled.strong])
        pasted = [Teaching(paste.into_labels(t.labels), torch.where(paste.mask, 1.0, t.weights)) for t in taught]
        return replace(unlabeled, strong=strong, strong_valid=unlabeled.strong_valid | paste.mask), pasted

    def _logits(self, labeled: Tensor, strong: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Per head, logits of the labelled images (L, 3, H, W) and of its strong view out of (V, U, 3, H, W)."""
        if self.params.strong_batchnorm == "joint":
            count = len(labeled)
            features = self.segmenter.encode(torch.cat([labeled, *strong]))
            together = [self._decode(head, features, count, strong) for head in range(2)]
            return [logits[:count] for logits in together], [logits[count:] for logits in together]
        labeled_logits = self.segmenter(labeled)
        with untracked_batchnorm(self.segmenter) if self.params.strong_batchnorm == "untracked" else nullcontext():
            features = self.segmenter.encode(torch.cat([*strong]))
            return labeled_logits, [self._decode(head, features, 0, strong) for head in range(2)]

    def _decode(self, head: int, features: Features, labeled: int, strong: Tensor) -> Tensor:
        """Logits of a head on the first `labeled` rows of the features and on those of the head's own strong view."""
        views, unlabeled = strong.shape[:2]
        start = labeled + (head % views) * unlabeled
        rows = [*range(labeled), *range(start, start + unlabeled)]
        low, high = features
        return self.segmenter.decode(head, (low[rows], high[rows]), (strong.shape[3], strong.shape[4]))


def _agreement(taught: list[Teaching], valid: Tensor) -> Tensor:
    """Share of the valid pixels of the weak view on which the heads agree."""
    return ((taught[0].labels == taught[1].labels) & valid).sum() / valid.sum().clamp(min=1)


def _shares_used(taught: list[Teaching], valid: Tensor) -> dict[str, Tensor]:
    """Share of the pixels that each term of L_u uses: term m is what head m teaches."""
    used = [(teaching.weights > 0) & valid[(1 - index) % len(valid)] for index, teaching in enumerate(taught)]
    return {f"used_by_term_{index + 1}": pixels.float().mean() for index, pixels in enumerate(used)}
