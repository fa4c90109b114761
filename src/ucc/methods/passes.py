"""How labelled and unlabelled images pass through a segmenter, and what its BatchNorm layers make of them.

Which images share a pass is a choice of its own, apart from what a method does with the logits:
`method.teacher_batchnorm` for pseudo labels, `method.unlabeled_batchnorm` for the images that learn from them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from ucc.models import Segmenter
from ucc.models.encoder import Features
from ucc.models.modes import evaluation_mode, untracked_batchnorm


@torch.no_grad()
def teacher_probabilities(segmenter: Segmenter, images: Tensor, batchnorm: str) -> list[Tensor]:
    """Class probabilities (B, C, H, W) of every head, without gradient.

    `batchnorm` is `running` (as in deployment, without dropout) or `batch` (training mode, decision S).
    """
    with evaluation_mode(segmenter) if batchnorm == "running" else nullcontext():
        return [functional.softmax(logits, dim=1) for logits in segmenter(images)]


def student_logits(
    segmenter: Segmenter, labeled: Tensor, views: Tensor, batchnorm: str
) -> tuple[list[Tensor], list[Tensor]]:
    """Per head, logits of the labelled images (L, 3, H, W) and of its view out of (V, U, 3, H, W).

    Head m learns on view m, or on the only one. `batchnorm` is `joint` (labelled and unlabelled images in one
    pass), `separate` (one pass each) or `untracked` (one each, unlabelled ones leaving the running statistics alone).
    """
    count, (number, unlabeled) = len(labeled), views.shape[:2]
    starts = [(head % number) * unlabeled for head in range(len(segmenter.heads))]
    own_view = [list(range(start, start + unlabeled)) for start in starts]
    if batchnorm == "joint":
        rows = [[*range(count), *(count + row for row in view)] for view in own_view]
        together = segmenter.forward_rows(torch.cat([labeled, *views]), rows)
        return [logits[:count] for logits in together], [logits[count:] for logits in together]
    labeled_logits = segmenter(labeled)
    with unlabeled_pass(segmenter, batchnorm):
        return labeled_logits, segmenter.forward_rows(torch.cat([*views]), own_view)


def encode_both(segmenter: Segmenter, labeled: Tensor, unlabeled: Tensor, batchnorm: str) -> tuple[Features, Features]:
    """The first head's features of labelled (L, 3, H, W) and unlabelled images (U, 3, H, W); `batchnorm` as above."""
    if batchnorm == "joint":
        low, high = segmenter.encode(torch.cat([labeled, unlabeled]))
        count = len(labeled)
        return (low[:count], high[:count]), (low[count:], high[count:])
    features = segmenter.encode(labeled)
    with unlabeled_pass(segmenter, batchnorm):
        return features, segmenter.encode(unlabeled)


@contextmanager
def unlabeled_pass(module: nn.Module, batchnorm: str) -> Iterator[None]:
    """For the length of a pass of unlabelled images alone: `untracked` leaves the running statistics as they are."""
    with untracked_batchnorm(module) if batchnorm == "untracked" else nullcontext():
        yield
