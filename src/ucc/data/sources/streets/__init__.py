"""`streets`, the embedded data set: street scenes drawn from a seed, with exact masks.

Seven cities differ in architecture, ground, plants and street furniture, six weathers in light and air. Class
shares are long-tailed as in Cityscapes. Image `index` of a split is a function of (seed, split, index) alone.
"""

import sys
from pathlib import Path

import numpy as np

from ucc.config import StreetsParams
from ucc.data.dataset import DRAWN, SPLITS, DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.sources.shrink import shrink
from ucc.data.sources.streets.labels import CLASSES, COLORS
from ucc.data.sources.streets.scene import draw_scene
from ucc.files import atomic_folder, explained

VERSION = 1  # of the pictures: raise it with every change that alters one
PROGRESS_EVERY = 60


def render_street(seed: int, split: str, index: int, height: int, width: int) -> tuple[Image, Image]:
    """Scene `index` of `split`: RGB image (height, width, 3) and class mask (height, width), both uint8."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return draw_scene(rng, height, width)


def prepare_streets(params: StreetsParams, target: Path, max_side: int | None = None) -> DatasetInfo:
    """Draw the training and validation images into `target`, whole or not at all.

    Raises:
        UserError: if the disk is full.
    """
    info = DatasetInfo(
        name="streets",
        classes=CLASSES,
        colors=COLORS,
        provenance={"source": DRAWN, "version": VERSION, "seed": params.seed},
    )
    counts = {"train": params.train_images, "val": params.val_images}
    total, done = sum(counts.values()), 0
    with explained(target.parent), atomic_folder(target) as folder:
        for split, count in counts.items():
            for index in range(count):
                image, mask = render_street(params.seed, split, index, params.height, params.width)
                write_png(folder / "images" / split / f"{index:05d}.png", shrink(image, max_side))
                write_png(folder / "masks" / split / f"{index:05d}.png", shrink(mask, max_side))
                done += 1
                if done % PROGRESS_EVERY == 0 or done == total:
                    print(f"streets: {done}/{total} images drawn", file=sys.stderr, flush=True)
        info.write(folder)
    return info
