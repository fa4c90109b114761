"""Binary masks, and masks that are none, for tests."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from annotated import expected
from numpy.typing import NDArray

TWO_CLASSES = expected((1, 1, 8, 1), (3, 3, 2, 2))


def inside(left: int, top: int, side: int, value: int = 255) -> NDArray[np.uint8]:
    """A black picture of HEIGHT x WIDTH with a square of a value."""
    return expected((left, top, side, value)).astype(np.uint8)


def put(path: Path, mask: NDArray[Any]) -> None:
    """Write a picture, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask).save(path)


def disc(value: int, scale: float) -> NDArray[np.uint8]:
    """With a smoothed edge."""
    drawn = cv2.circle(np.zeros((90, 120), np.uint8), (50, 40), 25, value, -1)
    return np.asarray(cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), np.uint8)


def stored_lossily(path: Path, mask: NDArray[np.uint8], scale: int = 9) -> None:
    """Write a JPEG, each pixel `scale` times as wide and high."""
    PIL.Image.fromarray(mask.repeat(scale, axis=0).repeat(scale, axis=1)).save(path, "JPEG", quality=40)
