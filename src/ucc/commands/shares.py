"""The share of each class among the pixels of each image: one row of numbers an image, as CSV and as JSON."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ucc.files import atomic_path, write_json
from ucc.segmenter import Segmentation


class Shares(NamedTuple):
    """Shares of the classes in [0, 1], in the order of their indices, and the mean uncertainty of one image."""

    image: Path
    shares: list[float]
    mean_uncertainty: float


class Tally:
    """Counts the pixels of one image's classes, part by part."""

    def __init__(self, num_classes: int) -> None:
        self._counts = np.zeros(num_classes, np.int64)
        self._uncertainty = 0.0

    def add(self, part: Segmentation) -> None:
        """Count a part of the image."""
        self._counts += np.bincount(part.classes.reshape(-1), minlength=len(self._counts))
        self._uncertainty += float(part.uncertainty.sum(dtype=np.float64))

    def shares(self, image: Path) -> Shares:
        """What was counted, as that of `image`."""
        pixels = int(self._counts.sum())
        return Shares(image, [float(share) for share in self._counts / pixels], self._uncertainty / pixels)


def write_shares(folder: Path, rows: Sequence[Shares], classes: Sequence[str]) -> None:
    """Write `shares.csv` (image, one column a class, mean_uncertainty) and `shares.json` into `folder`."""
    with atomic_path(folder / "shares.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["image", *classes, "mean_uncertainty"])
        writer.writerows([path_text(row.image), *map(_digits, (*row.shares, row.mean_uncertainty))] for row in rows)
    images = [
        {
            "image": path_text(row.image),
            "shares": dict(zip(classes, map(_digits, row.shares), strict=True)),
            "mean_uncertainty": _digits(row.mean_uncertainty),
        }
        for row in rows
    ]
    write_json(folder / "shares.json", {"classes": list(classes), "images": images})


def describe(row: Shares, classes: Sequence[str], most: int = 3) -> str:
    """The `most` frequent classes with their shares of the pixels, and the mean uncertainty."""
    top = [index for index in np.argsort([-share for share in row.shares], kind="stable")[:most] if row.shares[index]]
    listed = ", ".join(f"{classes[index]} {row.shares[index]:.0%}" for index in top)
    return f"{listed}; mean uncertainty {row.mean_uncertainty:.2f}"


def _digits(value: float) -> float:
    """More would be noise: one pixel of a hundred megapixels is 1e-8."""
    return round(value, 8)


def path_text(path: Path) -> str:
    """A path for a text file: names need not be UTF-8, but what is written is."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")
