"""What one training step consumes."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from ucc.config import MethodParams, TrainParams

# Not frozen: Lightning Fabric converts the tensors of what a module is called with, field by field.


@dataclass
class _Tensors:
    """Tensors that travel together; `slots` stays on the CPU, where the step's random draws are made."""

    slots: Tensor

    def to(self, device: torch.device) -> Self:
        """The pixels on `device`."""
        pixels = [f.name for f in fields(self) if f.name != "slots"]
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in pixels})

    def pin_memory(self) -> Self:
        """The pixels in page-locked memory, so that copies to a GPU overlap with computing."""
        pixels = [f.name for f in fields(self) if f.name != "slots"]
        return replace(self, **{name: getattr(self, name).pin_memory() for name in pixels})

    def split(self, parts: int) -> list[Self]:
        """As many batches of equal size, in the order of the slots."""
        size = len(self.slots) // parts
        return [
            replace(self, **{f.name: self._rows(f.name, slice(start, start + size)) for f in fields(self)})
            for start in range(0, len(self.slots), size)
        ]

    def _rows(self, name: str, rows: slice) -> Tensor:
        tensor: Tensor = getattr(self, name)
        return tensor[:, rows] if name.startswith("strong") else tensor[rows]


@dataclass
class LabeledBatch(_Tensors):
    """L labelled images in their weak view.

    Attributes:
        slots: int64 (L,), positions in the global batch.
        images: RGB uint8 (L, 3, H, W).
        masks: int64 (L, H, W), 255 where not labelled or padded.
    """

    images: Tensor
    masks: Tensor


@dataclass
class UnlabeledBatch(_Tensors):
    """U unlabelled images in the view that pseudo labels are made from, and the views that learn from them.

    Attributes:
        slots: int64 (U,), positions in the global batch.
        weak: RGB uint8 (U, 3, H, W).
        weak_valid: bool (U, H, W), False where padded (decision J).
        strong: RGB uint8 (V, U, 3, H, W), V is 1, the number of heads (decision F), or 0 if no method needs them.
        strong_valid: bool (V, U, H, W), False where padded or dropped out (decisions H, J).
    """

    weak: Tensor
    weak_valid: Tensor
    strong: Tensor
    strong_valid: Tensor


@dataclass
class Batch:
    """One process's share of the global batch of a step; `unlabeled` is None where no such images are used."""

    labeled: LabeledBatch
    unlabeled: UnlabeledBatch | None

    def to(self, device: torch.device) -> "Batch":
        """The batch with its pixels on `device`."""
        return Batch(self.labeled.to(device), self.unlabeled.to(device) if self.unlabeled else None)

    def split(self, parts: int) -> list["Batch"]:
        """As many batches of equal size, one after the other."""
        unlabeled = self.unlabeled.split(parts) if self.unlabeled else [None] * parts
        return [Batch(*part) for part in zip(self.labeled.split(parts), unlabeled, strict=True)]

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it serves a GPU."""
        return Batch(self.labeled.pin_memory(), self.unlabeled.pin_memory() if self.unlabeled else None)


def step_uses_unlabeled(method: MethodParams, train: TrainParams, step: int) -> bool:
    """Whether unlabelled images have a part in training step `step`, counted from 0, of a method that learns from them.

    They do where lambda of Eq. 4 is above 0: after the supervised warm-up (decision V), unless it is 0 throughout.
    """
    return method.unsup_weight > 0 and step >= train.supervised_warmup
