"""What the files of a data set hold, as a table with one row an image: what validation stands on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image, read_image, read_mask
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError
from ucc.files import sha256
from ucc.progress import read_parallel

MASKED_SUBSETS = ("labeled", "val", "test")
NAMED_TWINS = 3


def count_pixels(mask: Image) -> NDArray[np.int64]:
    """Number of pixels of each of the 256 values of a uint8 mask, shape (256,)."""
    return np.bincount(mask.ravel(), minlength=256)


def pixel_columns(num_classes: int) -> list[str]:
    """The columns of `image_facts` that count the pixels of each class, in the order of the classes."""
    return [f"pixels_{index}" for index in range(num_classes)]


def image_facts(dataset: Path, manifest: Manifest, num_classes: int) -> pd.DataFrame:
    """One row for each sample of the manifest, in its order; a bad file is a fact, never an exception.

    Masks of unlabelled samples are not opened. A cell with nothing to say is empty (None, NaN or NA).

    Columns:
        id, subset, image, mask: as in the manifest.
        image_error: why the image cannot be read.
        image_sha256: hash of the image file's bytes.
        image_size, mask_size: "<height>x<width>" in pixels, of the image after its EXIF rotation.
        mask_error: why the mask cannot be read, or that there is none.
        foreign_values: the mask's values that are neither a class nor the ignore index, as text.
        ignore_share: share of the mask's pixels that hold the ignore index, 0..1.
        pixels_<index>: how many pixels of the mask hold this class.
        twins_elsewhere, twins_within: images with the same bytes in other subsets, and in this one, as text.
    """
    rows = read_parallel(
        lambda sample: _image_facts(dataset, sample) | _mask_facts(dataset, sample, num_classes),
        manifest.samples,
        "reading files of",
    )
    table = pd.DataFrame(rows, columns=[*_TEXT_COLUMNS, "ignore_share", *pixel_columns(num_classes)])
    table = table.astype({"ignore_share": float} | dict.fromkeys(pixel_columns(num_classes), "Int64"))
    return table.assign(**_twins(table))


_TEXT_COLUMNS = (
    *("id", "subset", "image", "image_error", "image_sha256", "image_size"),
    *("mask", "mask_error", "mask_size", "foreign_values"),
)


def _image_facts(dataset: Path, sample: Sample) -> dict[str, Any]:
    path = dataset / sample.image
    facts: dict[str, Any] = {"id": sample.id, "subset": sample.subset, "image": sample.image}
    try:
        facts["image_size"] = _size(read_image(path))
        facts["image_sha256"] = sha256(path)
    except (UserError, OSError) as error:
        facts["image_error"] = _reason(error, path)
    return facts


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


def _reason(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _twins(table: pd.DataFrame) -> dict[str, pd.Series]:
    elsewhere: dict[Any, str] = {}
    within: dict[Any, str] = {}
    hashes = table["image_sha256"]
    for _, same in table[hashes.notna() & hashes.duplicated(keep=False)].groupby("image_sha256"):
        for row in same.itertuples():
            others = same.drop(index=row.Index)
            elsewhere[row.Index] = _listed(others.loc[others["subset"] != row.subset, "image"])
            within[row.Index] = _listed(others.loc[others["subset"] == row.subset, "image"])
    return {
        name: pd.Series({key: text for key, text in found.items() if text}, dtype=object).reindex(table.index)
        for name, found in (("twins_elsewhere", elsewhere), ("twins_within", within))
    }


def _listed(names: pd.Series) -> str:
    more = len(names) - NAMED_TWINS
    return ", ".join(names[:NAMED_TWINS]) + (f" and {more} more" if more > 0 else "")
