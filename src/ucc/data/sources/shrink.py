"""Smaller images and masks, for training where full resolution costs too much."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from ucc.data.images import Image, read_image, write_png
from ucc.errors import UserError


def shrink(pixels: Image, max_side: int | None) -> Image:
    """RGB (H, W, 3) or an index mask (H, W) so that the longer side is `max_side` or, if it was shorter, as it is.

    Images are averaged over areas, masks take the nearest value. An image and its mask shrink by the same factor if
    they have the same size. With None, nothing shrinks.
    """
    height, width = pixels.shape[:2]
    factor = 1 if max_side is None else max_side / max(height, width)
    if factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Nearest with exact pixel centres, so that the mask stays in register with its averaged image.
    method = cv2.INTER_AREA if pixels.ndim == 3 else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def copy_image(source: Path, place: Path, max_side: int | None) -> None:
    """Copy an image to `place` byte by byte; with `max_side`, shrink it to a PNG of that name instead.

    The images are copied rather than linked: DVC changes the permissions of what it keeps, and a tool that writes
    in place would reach the user's own files.

    Raises:
        UserError: naming `source`, if it cannot be read.
        OSError: if `place` cannot be written.
    """
    if max_side is not None:
        write_png(place.with_suffix(".png"), shrink(read_image(source), max_side))
        return
    try:
        shutil.copyfile(source, place)
    except OSError as error:
        # A failed write names both files.
        if error.filename != str(source) or error.filename2 is not None:
            raise
        raise UserError(f"{source}: cannot be read ({error.strerror}).") from error
