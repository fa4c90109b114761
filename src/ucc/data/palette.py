"""Class indices as colours."""

from collections.abc import Sequence

import numpy as np

from ucc.data.images import Image

Color = tuple[int, int, int]


def paint(mask: Image, colors: Sequence[Color], ignore_color: Color = (0, 0, 0)) -> Image:
    """Paint an index mask.

    Args:
        mask: uint8 class indices of shape (H, W).
        colors: RGB of each class, 0..255, in index order.
        ignore_color: RGB of every value that is no class, the ignore index among them.

    Returns:
        RGB uint8 of shape (H, W, 3).
    """
    table = np.full((256, 3), ignore_color, np.uint8)
    table[: len(colors)] = colors
    return table[mask]
