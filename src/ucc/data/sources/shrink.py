"""Smaller copies of a data set's images and masks, for training where full resolution costs too much."""

from pathlib import Path

import cv2
import numpy as np

from ucc.data.dataset import SPLITS, DatasetInfo
from ucc.data.images import Image, read_image, read_mask, write_png
from ucc.files import atomic_folder
from ucc.progress import read_parallel


def shrink_dataset(folder: Path, max_side: int) -> None:
    """Rewrite the canonical data set in `folder` so that no side is longer than `max_side` pixels, whole or not at all.

    Images are averaged over areas, masks take the nearest value; both are written as PNG. An image and its mask
    shrink by the same factor if they had the same size; whether they had is for `validate` to say.

    Raises:
        UserError: if a file cannot be read.
    """
    info = DatasetInfo.read(folder)
    files = [path for kind in ("images", "masks") for split in SPLITS for path in _files(folder / kind / split)]
    with atomic_folder(folder) as target:

        def write(path: Path) -> None:
            place = (target / path.relative_to(folder)).with_suffix(".png")
            place.parent.mkdir(parents=True, exist_ok=True)
            is_image = path.relative_to(folder).parts[0] == "images"
            write_png(place, shrink(read_image(path), max_side) if is_image else shrink(read_mask(path), max_side))

        read_parallel(write, files, "shrinking")
        info.write(target)


def shrink(pixels: Image, max_side: int) -> Image:
    """RGB (H, W, 3) or an index mask (H, W) so that the longer side is `max_side` or, if it was shorter, as it is."""
    height, width = pixels.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Nearest with exact pixel centres, so that the mask stays in register with its averaged image.
    method = cv2.INTER_AREA if pixels.ndim == 3 else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
