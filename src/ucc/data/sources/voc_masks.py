"""Masks as PASCAL VOC and SBD store them."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import scipy.io
from numpy.typing import NDArray

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image, read_mask, refuse_damaged_png
from ucc.errors import UserError

NUM_CLASSES = 21


def read_voc_mask(path: Path) -> Image:
    """Read a mask of VOC or SBD as uint8 of shape (H, W): 0 to 20, or 255 for the border of an object.

    Raises:
        UserError: if it cannot be read, or holds another value.
    """
    mask = _read_sbd(path) if path.suffix == ".mat" else _read_png(path)
    wrong = sorted(set(np.unique(mask).tolist()) - {*range(NUM_CLASSES), IGNORE_INDEX})
    if wrong:
        raise UserError(f"{path}: holds the value {wrong[0]}; masks of VOC hold 0 to 20 and 255.")
    return mask.astype(np.uint8)


def color_map(count: int) -> tuple[tuple[int, int, int], ...]:
    """The RGB colours of VOC's palette: bit 3i+c of an index is bit 7-i of its colour's channel c (VOC devkit)."""
    return tuple((_channel(index, 0), _channel(index, 1), _channel(index, 2)) for index in range(count))


def _channel(index: int, channel: int) -> int:
    return sum((index >> 3 * bit + channel & 1) << 7 - bit for bit in range(8))


def _read_png(path: Path) -> Image:
    """The indices into a palette, which OpenCV would replace by their colours, or plain grey values."""
    try:
        with PIL.Image.open(path, formats=["PNG"]) as opened:
            if opened.mode == "P":
                refuse_damaged_png(path)
                return np.asarray(opened)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a PNG that can be decoded; replace it.") from error
    return read_mask(path)


def _read_sbd(path: Path) -> NDArray[np.integer[Any]]:
    """Hariharan et al., "Semantic contours from inverse detectors" (2011): field Segmentation of the struct GTcls."""
    try:
        mask = np.asarray(scipy.io.loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"].item())
    # A damaged file makes scipy raise almost anything.
    except Exception as error:
        raise UserError(f"{path}: no GTcls.Segmentation can be read from it; replace it.") from error
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
        raise UserError(f"{path}: GTcls.Segmentation is {mask.ndim}-dimensional {mask.dtype}, not a mask; replace it.")
    return mask
