"""What validation wants to know of one decoded picture: a few figures, and a hash of how it looks.

Sums are those of whole numbers and figures are rounded, so that every machine finds the same.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.data.images import Image

STATISTICS = ("brightness", "contrast", "saturation", "red", "green", "blue", "height", "width", "aspect")
HASH_BITS = 64
# Grey levels, of the part of a picture that its hash is made from. What a smaller spread leaves is noise and
# compression, and clear skies would be alike.
MIN_HASH_CONTRAST = 1.0
SAMPLED_SIDE = 128
CELLS = 32
DIGITS = 6

_LEVELS = np.arange(256)
# Cosines of the DCT-II, all but the constant one: (8 frequencies, 32 cells). Scaled such that the norm of what they
# find in 32x32 cells is its standard deviation over the cells.
_COSINES = np.cos(np.pi / (2 * CELLS) * np.outer(np.arange(1, 9), 2 * np.arange(CELLS) + 1)) * np.sqrt(2) / CELLS


def picture_statistics(image: Image) -> dict[str, float]:
    """The `STATISTICS` of an RGB uint8 image (H, W, 3).

    Brightness is the mean and contrast the standard deviation of luma, in grey levels 0..255; saturation the mean of
    (max - min) / max over R, G, B, 0..1; red, green and blue the shares of the channels in the sum of all three, 1/3
    each if it is black; height and width are in pixels, aspect is width / height. Of a large image, every k-th pixel
    of every k-th row counts, such that the shorter side keeps 128 or more.
    """
    height, width = image.shape[:2]
    step = max(1, min(height, width) // SAMPLED_SIDE)
    sampled = np.ascontiguousarray(image[::step, ::step])
    luma = np.bincount(_luma(sampled).ravel(), minlength=256)
    count, mean = int(luma.sum()), int(luma @ _LEVELS) / int(luma.sum())
    variance = int(luma @ _LEVELS**2) / count - mean * mean
    planes = [np.ascontiguousarray(sampled[..., channel]) for channel in range(3)]
    highest, lowest = np.maximum.reduce(planes), np.minimum.reduce(planes)
    saturation = ((highest - lowest) / np.maximum(highest, 1, dtype=np.float32)).mean(dtype=np.float64)
    sums = [int(plane.sum(dtype=np.int64)) for plane in planes]
    red, green, blue = (channel / sum(sums) if any(sums) else 1 / 3 for channel in sums)
    values = (
        *(mean, max(variance, 0.0) ** 0.5, saturation),
        *(red, green, blue, height, width, width / height),
    )
    return {name: round(float(value), DIGITS) for name, value in zip(STATISTICS, values, strict=True)}


def perceptual_hash(image: Image) -> int | None:
    """64 bits that survive compression and resizing of an RGB uint8 image (H, W, 3); None without enough contrast.

    Each bit says whether one of the lowest 8x8 frequencies of the DCT of luma, averaged over 32x32 cells, exceeds
    their median; the constant ones are left out, so brightness hardly matters. The method is pHash of Zauner,
    "Implementation and benchmarking of perceptual image hash functions" (2010).
    """
    # Rounded, so that what is zero but for the last digit falls on the same side everywhere.
    frequencies = np.round(_COSINES @ _cell_means(image) @ _COSINES.T, DIGITS)
    if np.linalg.norm(frequencies) < MIN_HASH_CONTRAST:
        return None
    bits = frequencies.ravel() > np.median(frequencies)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cell_means(image: Image) -> NDArray[np.float64]:
    """Mean luma, 0..255, of 32x32 cells of whole pixels; those of a smaller image repeat its pixels."""
    luma = _luma(image)
    rows, columns = (np.arange(CELLS) * side // CELLS for side in luma.shape)
    sums = np.add.reduceat(np.add.reduceat(luma, rows, axis=0, dtype=np.int32), columns, axis=1, dtype=np.int64)
    heights, widths = (
        np.maximum(np.diff(starts, append=side), 1) for starts, side in zip((rows, columns), luma.shape, strict=True)
    )
    means: NDArray[np.float64] = sums / np.outer(heights, widths)
    return means


def _luma(image: Image) -> Image:
    """Luma of ITU-R BT.601 in whole grey levels, uint8 (H, W)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
