"""What a shape covers: an outline, runs of pixels or a small picture, each rasterised by the reference code of COCO."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ucc.errors import UserError

# Times the image: outlines cost memory by their length, and one that far out is of another image.
FARTHEST = 10

Size = tuple[int, int]  # height, width
Runs = dict[str, Any]  # run lengths as pycocotools has them


class Region(Protocol):
    """A part of an image."""

    def runs(self, size: Size) -> Runs:
        """Its pixels in an image of this size; raises `UserError` if it does not belong into one."""
        ...


@dataclass(frozen=True)
class Outlines:
    """Polygons, each x, y, x, y, ... from the upper left corner; a pixel in any of them belongs to it.

    Attributes:
        relative: whether these are shares of width and height, rather than pixels.
    """

    polygons: Sequence[Sequence[float]]
    relative: bool = False

    def runs(self, size: Size) -> Runs:
        """Raises `UserError` where a point lies many times further outside than the image is large."""
        height, width = size
        scaled = []
        for polygon in self.polygons:
            points = np.asarray(polygon, np.float64).reshape(-1, 2) * ((width, height) if self.relative else 1)
            # Written so that it does not hold for what is not a number.
            if not (np.abs(points) <= (FARTHEST * width, FARTHEST * height)).all():
                raise UserError(f"points far outside the image of {width}x{height} pixels")
            scaled.append(points.ravel().tolist())
        merged: Runs = coco_mask.merge(coco_mask.frPyObjects(scaled, *size))
        return merged


@dataclass(frozen=True)
class RunLengths:
    """COCO's run lengths, column by column, background first: numbers, or the text that COCO makes of them."""

    size: Size
    counts: Sequence[int] | str

    def runs(self, size: Size) -> Runs:
        """Raises `UserError` if they are of another size, or do not fill it."""
        if self.size != size:
            raise UserError(f"run lengths for {self.size[1]}x{self.size[0]} pixels, the image has {size[1]}x{size[0]}")
        counts = _counts(self.counts) if isinstance(self.counts, str) else list(self.counts)
        # pycocotools leaves pixels that no run reaches as the memory was.
        if min(counts, default=-1) < 0 or sum(counts) != size[0] * size[1]:
            raise UserError("run lengths that do not fill the image")
        runs: Runs = coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)
        return runs


def _counts(text: str) -> list[int]:
    """The numbers of COCO's text: five bits a character, signed; from the fourth on, steps from the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise UserError("damaged run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise UserError("damaged run lengths")
    return counts


@dataclass(frozen=True)
class Bitmap:
    """Pixels, bool (h, w), the upper left one at row `top` and column `left` of the image."""

    pixels: NDArray[np.bool_]
    top: int
    left: int

    def runs(self, size: Size) -> Runs:
        """Raises `UserError` if it lies partly outside."""
        bottom, right = self.top + self.pixels.shape[0], self.left + self.pixels.shape[1]
        if min(self.top, self.left) < 0 or bottom > size[0] or right > size[1]:
            raise UserError(f"a mask that lies partly outside the image of {size[1]}x{size[0]} pixels")
        whole = np.zeros(size, np.uint8, order="F")
        whole[self.top : bottom, self.left : right] = self.pixels
        runs: Runs = coco_mask.encode(whole)
        return runs


def draw(regions: Sequence[tuple[Runs, int]], size: Size, elsewhere: int) -> NDArray[np.uint8]:
    """Runs of pixels with their values as a mask, uint8 (H, W); of two on one pixel the smaller lies on top."""
    flat = np.full(size[0] * size[1], elsewhere, np.uint8)
    # The sort is stable: of two of the same size the later one lies on top.
    for runs, value in sorted(regions, key=lambda pair: -int(coco_mask.area(pair[0]))):
        # Decoded by pycocotools each would cost as much as the whole image.
        ends = np.cumsum(_counts(runs["counts"].decode())).tolist()
        for start, end in zip(ends[0::2], ends[1::2], strict=False):  # the last run may be one of background
            flat[start:end] = value
    return np.ascontiguousarray(flat.reshape(size, order="F"))
