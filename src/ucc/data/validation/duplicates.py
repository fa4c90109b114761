"""Images that stand in a data set more than once: with the same pixels, or looking the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TRAINED_ON = ("labeled", "unlabeled")
MEASURED_ON = ("val", "test")
# A picture on two sides flatters the scores; one that is both labelled and unlabelled is only seen more often.
SIDES = {"labeled": "train", "unlabeled": "train", "val": "val", "test": "test"}
NAMED_TWINS = 3
# Rows of the larger side that are compared at once: with 2 000 images on the other, 16 MB of distances.
BLOCK = 8192


@dataclass(frozen=True)
class NearTwin:
    """An image that is measured on (`id`, `image`) and one that is trained on, which look the same.

    `bits` is how many of the 64 bits of their hashes differ, `twins` how many images to train on the first resembles.
    """

    id: str
    image: str
    twin: str
    bits: int
    twins: int


def same_pictures(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns twins_elsewhere and twins_within: images with the same pixels on other `SIDES`, and on this one.

    Args:
        table: with the columns image, image_sha256 (of the pixels, empty where they cannot be read) and subset.
    """
    elsewhere: dict[Any, str] = {}
    within: dict[Any, str] = {}
    hashes = table["image_sha256"]
    for _, same in table[hashes.notna() & hashes.duplicated(keep=False)].groupby("image_sha256"):
        sides = same["subset"].map(SIDES)
        for side, own in same.groupby(sides):
            others = same.loc[sides != side, "image"].tolist()
            names = own["image"].tolist()
            for place, index in enumerate(own.index):
                # One more than are named, since the image itself is among them.
                few = [name for name in names[: NAMED_TWINS + 1] if name != names[place]]
                elsewhere[index] = _listed(others[:NAMED_TWINS], len(others))
                within[index] = _listed(few[:NAMED_TWINS], len(names) - 1)
    return {
        name: pd.Series({key: text for key, text in found.items() if text}, dtype=object).reindex(table.index)
        for name, found in (("twins_elsewhere", elsewhere), ("twins_within", within))
    }


def near_twins(table: pd.DataFrame, bits: int) -> list[NearTwin]:
    """Images that are measured on and look like one that is trained on, each with the `NAMED_TWINS` nearest of those.

    Images with the same pixels are left out, they are found without this.

    Args:
        table: with the columns id, image, image_sha256, perceptual_hash (UInt64, empty for none) and subset.
        bits: how many of the 64 bits of the hashes may differ.
    """
    hashed = table[table["perceptual_hash"].notna()]
    trained = hashed[hashed["subset"].isin(TRAINED_ON)]
    measured = hashed[hashed["subset"].isin(MEASURED_ON)]
    ids, images, twins = measured["id"].tolist(), measured["image"].tolist(), trained["image"].tolist()
    return [
        NearTwin(ids[place], images[place], twins[other], distance, count)
        for place, (found, count) in _nearest(measured, trained, bits).items()
        for distance, other in found
    ]


def near_twin_texts(table: pd.DataFrame, pairs: Sequence[NearTwin]) -> pd.Series:
    """The column near_twins: for each image of `table`, those of `pairs` that it resembles, as text."""
    texts = {}
    for id_, group in groupby(pairs, lambda pair: pair.id):
        own = list(group)
        texts[id_] = _listed([f"{pair.twin} ({pair.bits} bits)" for pair in own], own[0].twins)
    return pd.Series([texts.get(id_) for id_ in table["id"]], table.index, dtype=object)


def _nearest(measured: pd.DataFrame, trained: pd.DataFrame, bits: int) -> dict[int, tuple[list[tuple[int, int]], int]]:
    """By row of `measured`: the nearest rows of `trained` as (distance, row), and how many are near in all.

    A few are kept of each block, so memory does not grow with the number of pairs.
    """
    wanted = measured["perceptual_hash"].to_numpy(np.uint64)
    wanted_pixels = measured["image_sha256"].to_numpy()
    nearest: dict[int, tuple[list[tuple[int, int]], int]] = {}
    for start in range(0, len(trained), BLOCK):
        block = trained.iloc[start : start + BLOCK]
        apart = hamming(wanted, block["perceptual_hash"].to_numpy(np.uint64))
        block_pixels = block["image_sha256"].to_numpy()
        for place in np.flatnonzero((apart <= bits).any(axis=1)).tolist():
            near = np.flatnonzero((apart[place] <= bits) & (block_pixels != wanted_pixels[place]))
            best = near[np.argsort(apart[place, near], kind="stable")[:NAMED_TWINS]].tolist()
            found, count = nearest.get(place, ([], 0))
            found = sorted([*found, *((int(apart[place, other]), start + other) for other in best)])[:NAMED_TWINS]
            if found:
                nearest[place] = found, count + len(near)
    return dict(sorted(nearest.items()))


def hamming(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits differ between each of `first` (N,) and each of `second` (M,), shape (N, M)."""
    distances = np.empty((len(first), len(second)), np.uint8)
    for row, value in enumerate(first):  # a row at a time: all differences at once would take eight times as much
        np.bitwise_count(second ^ value, out=distances[row])
    return distances


def _listed(names: list[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
