"""The share of each class among the pixels of each image: one row of numbers an image, as CSV and as JSON."""

import csv
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ucc.commands.inputs import KINDS, SHARES, Input
from ucc.errors import UserError, some
from ucc.files import atomic_path, write_json
from ucc.segmenter import Segmentation

FIRST, LAST = "image", "mean_uncertainty"  # the columns beside those of the classes


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


def write_shares(folder: Path, new: Sequence[Shares], classes: Sequence[str]) -> None:
    """Write `shares.csv` (image, one column a class, mean_uncertainty) and `shares.json` into `folder`.

    Rows of earlier runs stay, before the `new` ones, as long as their pictures do.

    Raises:
        UserError: as `read_shares` does.
    """
    replaced = {_stem(row.image) for row in new}
    rows = [row for row in read_shares(folder, classes) if _stem(row.image) not in replaced and _lies(folder, row)]
    rows += new
    table, document = (folder / name for name in SHARES)
    with atomic_path(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([FIRST, *classes, LAST])
        writer.writerows([path_text(row.image), *map(_digits, (*row.shares, row.mean_uncertainty))] for row in rows)
    images = [
        {
            "image": path_text(row.image),
            "shares": dict(zip(classes, map(_digits, row.shares), strict=True)),
            "mean_uncertainty": _digits(row.mean_uncertainty),
        }
        for row in rows
    ]
    write_json(document, {"classes": list(classes), "images": images})


def read_shares(folder: Path, classes: Sequence[str]) -> list[Shares]:
    """What `write_shares` left in `folder`, in the order of the file; of both files, the table counts.

    Raises:
        UserError: if a file of either name is not by `write_shares`, or was written for other classes.
    """
    found: list[Shares] = []
    for name, read in reversed(list(zip(SHARES, (_read_table, _read_document), strict=True))):
        path = folder / name
        if not path.exists():
            continue
        try:
            named, found = read(path)
            own = all(len(row.shares) == len(named) and _is_finite(row) for row in found)
        # Of JSON that somebody else wrote, each part may be of any type.
        except (ValueError, TypeError, LookupError, ArithmeticError, IsADirectoryError, csv.Error):
            own = False
        if not own:
            raise UserError(f"{path}: not written by `ucc segment`, or changed since; move it, or use another OUT.")
        if named != list(classes):
            raise UserError(f"{path}: written for other classes ({some(named)}); move it, or use another OUT.")
    return found


def describe(row: Shares, classes: Sequence[str], most: int = 3) -> str:
    """The `most` frequent classes with their shares of the pixels, and the mean uncertainty."""
    top = [index for index in np.argsort([-share for share in row.shares], kind="stable")[:most] if row.shares[index]]
    listed = ", ".join(f"{classes[index]} {row.shares[index]:.0%}" for index in top)
    return f"{listed}; mean uncertainty {row.mean_uncertainty:.2f}"


def _read_table(path: Path) -> tuple[list[str], list[Shares]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream)
        first, *classes, last = next(lines, [])
        if (first, last) != (FIRST, LAST):
            raise ValueError
        return classes, [
            Shares(Path(image), [float(share) for share in shares], float(uncertainty))
            for image, *shares, uncertainty in lines
        ]


def _read_document(path: Path) -> tuple[list[str], list[Shares]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    classes = list(content["classes"])
    return classes, [
        Shares(
            Path(image["image"]), [float(image["shares"][name]) for name in classes], float(image["mean_uncertainty"])
        )
        for image in content["images"]
    ]


def _is_finite(row: Shares) -> bool:
    return all(map(math.isfinite, (*row.shares, row.mean_uncertainty)))


def _stem(image: Path) -> str:
    """What images have in common whose pictures overwrite one another."""
    return path_text(image.parent / image.stem)


def _lies(folder: Path, row: Shares) -> bool:
    # A name that is not UTF-8 cannot be told from what was written of it: better a row too many than one lost.
    written = Input(row.image, row.image).outputs(folder, KINDS)
    return "\ufffd" in str(row.image) or any(picture.exists() for picture in written)


def _digits(value: float) -> float:
    """More would be noise: one pixel of a hundred megapixels is 1e-8."""
    return round(value, 8)


def path_text(path: Path) -> str:
    """A path for a text file: names need not be UTF-8, but what is written is."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")
