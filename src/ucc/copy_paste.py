"""DCSCP, dynamic cross-set copy-paste (Eqs. 5-6 of the paper).

All pixels of one category of a labelled image are pasted into another labelled or an unlabelled image. The
category is drawn by how unsure the model is of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ucc.distributed import world
from ucc.losses import IGNORE
from ucc.seeding import generator


class ClassConfidence(nn.Module):
    """The running class-wise confidence `sigma` (Eq. 6): it starts uniform at 1/C, absent classes keep their value."""

    value: Tensor

    def __init__(self, num_classes: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("value", torch.full((num_classes,), 1 / num_classes))

    @torch.no_grad()
    def update(self, probabilities: Sequence[Tensor], target: Tensor) -> None:
        """`sigma <- decay * sigma + (1 - decay) * sigma_t`.

        `sigma_t` of a class is the mean probability of the true class over the labelled pixels of that class, all
        heads and all processes (decision M). Probabilities are (B, C, H, W), one tensor per head, target (B, H, W).
        With `train.accumulation` this happens once for each part of a step's batch.
        """
        classes = len(self.value)
        labeled = target != IGNORE
        index = target[labeled]
        # In float32, adding to the sum over a million pixels would round every addend to a multiple of 1/8.
        count = torch.bincount(index, minlength=classes).double() * len(probabilities)
        total = torch.zeros_like(self.value, dtype=torch.float64)
        for head in probabilities:
            true_class = head.gather(1, torch.where(labeled, target, 0).unsqueeze(1)).squeeze(1)[labeled]
            total.index_add_(0, index, true_class.double())
        if world() > 1:
            sums = torch.stack([total, count])
            torch.distributed.all_reduce(sums)
            total, count = sums
        updated = self.decay * self.value + (1 - self.decay) * total / count.clamp(min=1)
        self.value.copy_(torch.where(count > 0, updated, self.value))

    def category_probabilities(self, target: Tensor) -> Tensor:
        """Softmax of sqrt(1 - sigma_c) over the classes present in each label map (decision N).

        (B, H, W) to (B, C); a row is zero if the map has no labelled pixel.
        """
        present = class_presence(target, len(self.value))
        scores = (1 - self.value).clamp(min=0).sqrt().expand(len(target), -1)
        return functional.softmax(scores.masked_fill(~present, -torch.inf), dim=1).nan_to_num(0.0)


def class_presence(target: Tensor, num_classes: int) -> Tensor:
    """Which classes each label map (B, H, W) holds: bool (B, C)."""
    counts = torch.zeros(len(target), IGNORE + 1, dtype=torch.int32, device=target.device)
    flat = target.flatten(1)
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.int32))
    return counts[:, :num_classes] > 0


@dataclass(frozen=True)
class PasteDraws:
    """The random numbers of a batch of pastes, on the CPU: three per image, each a function of its key alone."""

    happens: Tensor
    donor: Tensor
    category: Tensor

    @classmethod
    def of(cls, key: tuple[int | str, ...], slots: Sequence[int]) -> "PasteDraws":
        """Uniform numbers in [0, 1) for the global batch positions `slots`."""
        # float64, since rounding to float32 would now and then give 1.
        drawn = np.stack([generator(*key, slot).random(3) for slot in slots])
        return cls(*torch.from_numpy(drawn).unbind(1))


@dataclass(frozen=True)
class Paste:
    """What to paste into each image of a batch: `mask` bool (B, H, W), `images` (B, 3, H, W), `category` int64 (B,)."""

    mask: Tensor
    images: Tensor
    category: Tensor

    def into_images(self, images: Tensor) -> Tensor:
        """`M * x_a + (1 - M) * x_b` (Eq. 5) for images (B, 3, H, W)."""
        return torch.where(self.mask.unsqueeze(1), self.images, images)

    def into_labels(self, labels: Tensor) -> Tensor:
        """Labels (B, H, W) that take the pasted category where something was pasted."""
        return torch.where(self.mask, self.category.view(-1, 1, 1), labels)


def draw_paste(
    images: Tensor,
    target: Tensor,
    category_probabilities: Tensor,
    draws: PasteDraws,
    probability: float,
    within: bool,
    first: int = 0,
) -> Paste:
    """Choose donor `x_a` and category for each image of a batch of the size of `draws`.

    Args:
        images: the labelled images (A, 3, H, W) from which donors are drawn.
        target: their labels (A, H, W).
        category_probabilities: (A, C), zero for absent classes.
        draws: one row per image that is pasted into.
        probability: of a paste, per image.
        within: whether the labelled images themselves are pasted into; then no image is its own donor.
        first: where the first image that is pasted into stands among the donors, if `within`.
    """
    device, donors = images.device, len(images)
    slots = first + torch.arange(len(draws.happens))
    others = (slots + 1 + (draws.donor * (donors - 1)).long()) % donors
    donor = (others if within else (draws.donor * donors).long()).to(device)
    cumulative = category_probabilities[donor].cumsum(1)
    # Scaling by the last value guards against a sum that rounding left just below the draw.
    threshold = draws.category.to(device).unsqueeze(1) * cumulative[:, -1:]
    category = (cumulative <= threshold).sum(1).clamp(max=category_probabilities.shape[1] - 1)
    happens = (draws.happens < probability).to(device)
    mask = (target[donor] == category.view(-1, 1, 1)) & happens.view(-1, 1, 1)
    return Paste(mask, images[donor], category)
