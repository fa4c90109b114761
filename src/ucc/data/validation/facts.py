"""What the files of a data set hold, as a table with one row an image: what validation stands on."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image, count_pixels, read_image, read_mask
from ucc.data.manifest import Manifest, Sample
from ucc.data.validation.duplicates import same_pictures
from ucc.data.validation.picture import STATISTICS, perceptual_hash, picture_statistics
from ucc.errors import UserError
from ucc.progress import read_parallel

MASKED_SUBSETS = ("labeled", "val", "test")


def pixel_columns(num_classes: int) -> list[str]:
    """The columns of `image_facts` that count the pixels of each class, in the order of the classes."""
    return [f"pixels_{index}" for index in range(num_classes)]


def image_facts(dataset: Path, manifest: Manifest, num_classes: int) -> pd.DataFrame:
    """One row for each sample of the manifest, in its order; a bad file is a fact, never an exception.

    Masks of unlabelled samples are not opened. A cell with nothing to say is empty (None, NaN or NA).

    Columns:
        id, subset, image, mask: as in the manifest.
        image_error: why the image cannot be read.
        image_sha256: hash of the image's pixels, the same however they are encoded.
        perceptual_hash: of its look, as `ucc.data.validation.picture` says; so are its `STATISTICS`, one column each.
        image_size, mask_size: "<height>x<width>" in pixels, of the image after its EXIF rotation.
        mask_error: why the mask cannot be read, or that there is none.
        foreign_values: the mask's values that are neither a class nor the ignore index, as text.
        ignore_share: share of the mask's pixels that hold the ignore index, 0..1.
        pixels_<index>: how many pixels of the mask hold this class.
        twins_elsewhere, twins_within: images with the same pixels on other sides and on this one, as text; the
            sides are training, validation and test.
    """
    rows = read_parallel(
        lambda sample: _image_facts(dataset, sample) | _mask_facts(dataset, sample, num_classes),
        manifest.samples,
        "reading files of",
    )
    numbers = {"perceptual_hash": "UInt64"}
    numbers |= dict.fromkeys((*STATISTICS, "ignore_share"), "float64")
    numbers |= dict.fromkeys(pixel_columns(num_classes), "Int64")
    # Column by column: a table made from the rows at once would take 64-bit hashes for floats, and round them.
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in _TEXT_COLUMNS}
    columns |= {name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in numbers.items()}
    table = pd.DataFrame(columns)
    return table.assign(**same_pictures(table))


_TEXT_COLUMNS = (
    *("id", "subset", "image", "image_error", "image_sha256", "image_size"),
    *("mask", "mask_error", "mask_size", "foreign_values"),
)


def _image_facts(dataset: Path, sample: Sample) -> dict[str, Any]:
    path = dataset / sample.image
    facts: dict[str, Any] = {"id": sample.id, "subset": sample.subset, "image": sample.image}
    try:
        image = read_image(path)
    except UserError as error:
        return facts | {"image_error": _reason(error, path)}
    digest = hashlib.sha256(_size(image).encode())
    digest.update(image.data)
    facts |= {"image_size": _size(image), "image_sha256": digest.hexdigest(), "perceptual_hash": perceptual_hash(image)}
    return facts | picture_statistics(image)


def _mask_facts(dataset: Path, sample: Sample, num_classes: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"mask": sample.mask}
    if sample.subset not in MASKED_SUBSETS:
        return facts
    if not sample.mask:
        return facts | {"mask_error": "has no mask"}
    path = dataset / sample.mask
    try:
        mask = read_mask(path)
    except UserError as error:
        return facts | {"mask_error": f"{sample.mask}: {_reason(error, path)}"}
    pixels = count_pixels(mask)
    foreign = np.flatnonzero(pixels[num_classes:IGNORE_INDEX]) + num_classes
    facts["mask_size"] = _size(mask)
    facts["foreign_values"] = ", ".join(map(str, foreign)) or None
    facts["ignore_share"] = float(pixels[IGNORE_INDEX] / mask.size)
    return facts | dict(zip(pixel_columns(num_classes), pixels[:num_classes].tolist(), strict=True))


def _size(pixels: Image) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"


def _reason(error: UserError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
