"""Choosing and opening samples of a manifest."""

from collections.abc import Sequence
from pathlib import Path

from ucc.data.images import Image, read_image, read_mask
from ucc.data.manifest import Sample
from ucc.errors import UserError


def load_sample(dataset: Path, sample: Sample) -> tuple[Image, Image]:
    """Image RGB uint8 (H, W, 3) and mask uint8 (H, W) of a sample that has a mask.

    Raises:
        UserError: if a file cannot be read or the sizes differ.
    """
    image, mask = read_image(dataset / sample.image), read_mask(dataset / sample.mask)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{sample.id}: the image is {image.shape[0]}x{image.shape[1]} but its mask {mask.shape[0]}x{mask.shape[1]}."
        )
    return image, mask


def evenly_spaced(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples, or all if there are fewer, from the middles of equal stretches of the list."""
    count = min(count, len(samples))
    return [samples[(2 * index + 1) * len(samples) // (2 * count)] for index in range(count)]
