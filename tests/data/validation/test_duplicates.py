"""Near duplicates are found across training and measured images, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from ucc.data.validation import duplicates
from ucc.data.validation.duplicates import hamming, near_twin_texts, near_twins

HASH = 0xF0F0_1234_5678_9ABC


def _table(*rows: tuple[str, int | None]) -> pd.DataFrame:
    """Rows of a subset and a perceptual hash; each image has bytes of its own."""
    names = [f"{index:02d}" for index in range(len(rows))]
    return pd.DataFrame(
        {
            "id": names,
            "image": [f"{name}.jpg" for name in names],
            "subset": [subset for subset, _ in rows],
            "image_sha256": [f"bytes of {name}" for name in names],
            "perceptual_hash": pd.Series([value for _, value in rows], dtype="UInt64"),
        }
    )


def test_the_distance_of_hashes_is_the_number_of_differing_bits() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, (2, 30), dtype=np.uint64)
    expected = [[(int(a) ^ int(b)).bit_count() for b in values[1]] for a in values[0]]
    np.testing.assert_array_equal(hamming(values[0], values[1]), expected)


@pytest.mark.parametrize("trained", ["labeled", "unlabeled"])
@pytest.mark.parametrize("measured", ["val", "test"])
def test_a_pair_is_found_up_to_the_allowed_number_of_bits(trained: str, measured: str) -> None:
    table = _table((trained, HASH), (measured, HASH ^ 0b111))
    (pair,) = near_twins(table, 3)
    assert (pair.id, pair.image, pair.twin, pair.bits, pair.twins) == ("01", "01.jpg", "00.jpg", 3, 1)
    assert near_twins(table, 2) == []
    assert near_twin_texts(table, [pair]).tolist() == [None, "00.jpg (3 bits)"]


@pytest.mark.parametrize("subsets", [("labeled", "unlabeled"), ("labeled", "labeled"), ("val", "test")])
def test_within_training_or_measured_images_nobody_minds(subsets: tuple[str, str]) -> None:
    assert near_twins(_table(*((subset, HASH) for subset in subsets)), 4) == []


def test_pictures_without_a_hash_are_left_out() -> None:
    assert near_twins(_table(("labeled", None), ("val", None), ("val", HASH)), 16) == []


def test_copies_to_the_byte_are_left_out() -> None:
    table = _table(("labeled", HASH), ("unlabeled", HASH), ("val", HASH)).assign(image_sha256=["a", "b", "a"])
    assert [(pair.twin, pair.twins) for pair in near_twins(table, 0)] == [("01.jpg", 1)]
    assert near_twins(table.drop(index=1), 0) == []


def test_the_nearest_are_named_and_all_are_counted_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    far = [("unlabeled", HASH ^ ((1 << bits) - 1)) for bits in (4, 3, 5, 2, 1, 0, 9)]
    table = _table(*far, ("val", HASH), ("val", ~HASH & (2**64 - 1)))
    pairs = near_twins(table, 5)
    assert [(pair.twin, pair.bits, pair.twins) for pair in pairs] == [
        ("05.jpg", 0, 6),
        ("04.jpg", 1, 6),
        ("03.jpg", 2, 6),
    ]
    assert near_twin_texts(table, pairs)[7].endswith("03.jpg (2 bits) and 3 more")
    monkeypatch.setattr(duplicates, "BLOCK", 2)
    assert near_twins(table, 5) == pairs
