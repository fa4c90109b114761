"""Stand-ins for networks and batches that are small enough to check a training step pixel by pixel."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ucc.data.batch import Batch, LabeledBatch, UnlabeledBatch

Array = NDArray[np.float64]
CLASSES = 3


class PixelHeads(nn.Module):
    """Linear heads on the colour of each pixel; notes the images that are encoded, call by call."""

    num_classes = CLASSES

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.heads = nn.ModuleList(nn.Conv2d(3, CLASSES, 1) for _ in range(heads))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=random)
        self.encoded: list[Tensor] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.forward_rows(images, [slice(None)] * len(self.heads))

    def forward_rows(self, images: Tensor, rows: Sequence[list[int] | slice]) -> list[Tensor]:
        self.encoded.append(images)
        features = images.float() / 100 - 1
        return [self.heads[head](features[chosen]) for head, chosen in enumerate(rows)]

    def scores(self, images: Tensor) -> list[Array]:
        """Logits (B, C, H, W) of every head, for the reference."""
        with torch.no_grad():
            return [head(images.float() / 100 - 1).double().numpy() for head in self.heads]


def random_batch(strong_views: int) -> Batch:
    """Labelled colours are even numbers and unlabelled ones odd, so that pasted pixels can be told apart."""
    rng = np.random.default_rng(5)

    def colors(*shape: int, odd: int) -> Tensor:
        return torch.from_numpy(2 * rng.integers(0, 128, shape, dtype=np.uint8) + np.uint8(odd))

    masks = rng.choice([0, 1, 2, 255], (3, 8, 6))
    weak_valid = torch.from_numpy(rng.random((2, 8, 6)) < 0.8)
    weak_valid[1, :, :3] = False
    strong_valid = torch.from_numpy(rng.random((strong_views, 2, 8, 6)) < 0.8) & weak_valid
    return Batch(
        LabeledBatch(torch.arange(3), colors(3, 3, 8, 6, odd=0), torch.from_numpy(masks)),
        UnlabeledBatch(
            torch.arange(2),
            colors(2, 3, 8, 6, odd=1),
            weak_valid,
            colors(strong_views, 2, 3, 8, 6, odd=1),
            strong_valid,
        ),
    )


def softmax(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum())


def slow_supervised(scores: Iterable[Array], masks: NDArray[np.int64], threshold: float = 1.0) -> float:
    """Eq. 1: for each head the mean cross-entropy over labelled pixels, of these the ones that OHEM keeps.

    It keeps those whose true class has at most the probability `threshold`, if they are enough.
    """
    total = 0.0
    for head in scores:
        true_class = [
            softmax(head[b, :, y, x])[masks[b, y, x]] for b, y, x in np.ndindex(masks.shape) if masks[b, y, x] != 255
        ]
        total += float(np.mean([-np.log(p) for p in true_class if p <= threshold]))
    return total


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Of all BatchNorm layers; they change in place."""
    return [buffer for name, buffer in module.named_buffers() if name.endswith(("running_mean", "running_var"))]


def shares_of(record: Mapping[str, Tensor]) -> dict[str, float]:
    """What a step records beside its losses."""
    return {name: value.item() for name, value in record.items() if not name.startswith("loss")}


def slow_agreement(one: Array, other: Array, valid: NDArray[np.bool_]) -> float:
    """Share of the valid pixels to which both give the same most likely class."""
    same = [one[b, :, y, x].argmax() == other[b, :, y, x].argmax() for b, y, x in np.argwhere(valid)]
    return float(np.mean(same))
