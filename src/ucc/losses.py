"""Losses over pixels. Labels are int64 of shape (B, H, W); pixels with `IGNORE` count nowhere.

`the batch` is the global one: with several processes each gets its part of the loss, see `ucc.distributed`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ucc.distributed import denominator, gather

IGNORE = 255
# `ohem.min_kept` is meant for the crop of the paper's Cityscapes runs and shrinks with smaller ones (decision P).
OHEM_REFERENCE_PIXELS = 800 * 800


def pixel_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of every pixel, (B, C, H, W) and (B, H, W) to (B, H, W); 0 where the target is `IGNORE`."""
    return functional.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")


def mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the labelled pixels of the batch (Eq. 1); 0 if there are none."""
    return pixel_cross_entropy(logits, target).sum() / denominator((target != IGNORE).sum())


def ohem_cross_entropy(logits: Tensor, target: Tensor, threshold: float, min_kept: int) -> Tensor:
    """Mean over the hard pixels of the batch: online hard example mining (Shrivastava et al., CVPR 2016).

    A pixel is hard if the probability of its true class is at most `threshold`, or is among the `min_kept`
    smallest of the batch, ties included.
    """
    labeled = target != IGNORE
    losses = pixel_cross_entropy(logits, target)
    with torch.no_grad():
        true_class = torch.where(labeled, torch.exp(-losses), 2.0).flatten()
        of_all = gather(true_class)
        kth = of_all.kthvalue(min(min_kept, of_all.numel())).values
        hard = labeled & (true_class.view_as(losses) <= kth.clamp(min=threshold))
    return (losses * hard).sum() / denominator(hard.sum())


def scaled_min_kept(min_kept_per_image: int, images: int, height: int, width: int) -> int:
    """`min_kept` of a batch: per image, scaled down for crops below 800 x 800 (decision P)."""
    share = min(1.0, height * width / OHEM_REFERENCE_PIXELS)
    return max(1, round(min_kept_per_image * share)) * images


def weighted_mean(values: Tensor, weights: Tensor, over: Tensor) -> Tensor:
    """Sum of weights * values of each image divided by the sum of `over` there, then the mean over the batch.

    With `over = weights` this is Eq. 12 as decision C reads it. All are (B, H, W); an image in which `over` is
    zero everywhere contributes 0.
    """
    numerator = (values * weights).sum(dim=(1, 2))
    return (numerator / over.sum(dim=(1, 2)).clamp(min=1e-6)).mean()


def mean_squared_distance(probabilities: Tensor, target: Tensor, mask: Tensor, over: Tensor) -> Tensor:
    """Squared difference, mean over the classes of (B, C, H, W), summed over `mask` (B, H, W) and divided by `over`.

    `over` is a scalar, what `denominator` gives for the pixels that the mean is over: those of `mask`, or more. No
    gradient passes into the target. This is the consistency cost of mean teacher, CCT and GCT.
    """
    distance = (probabilities - target.detach()).square().mean(dim=1)
    return (distance * mask).sum() / over
