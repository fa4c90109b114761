"""The table of facts tells what is in the files, whatever state they are in."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ucc.data.images import read_image, write_png
from ucc.data.manifest import Manifest, Sample
from ucc.data.validation import facts as facts_module
from ucc.data.validation.facts import image_facts, pixel_columns
from ucc.data.validation.picture import STATISTICS, perceptual_hash, picture_statistics
from ucc.progress import read_parallel


def _sample(name: str, subset: str, mask: str | None = None) -> Sample:
    split = "train" if subset in ("labeled", "unlabeled") else subset
    return Sample(
        id=f"{split}/{name}",
        image=f"images/{split}/{name}.png",
        mask=f"masks/{split}/{name}.png" if mask is None else mask,
        subset=subset,
    )


def _write(folder: Path, sample: Sample, mask: np.ndarray, value: int = 0) -> None:
    write_png(folder / sample.image, np.full((4, 6, 3), value, np.uint8))
    write_png(folder / sample.mask, mask)


def _facts(folder: Path, *samples: Sample) -> pd.DataFrame:
    return image_facts(folder, Manifest(samples), num_classes=3).set_index("id")


def test_pixels_sizes_and_hash_are_those_of_the_files(tmp_path: Path) -> None:
    sample = _sample("a", "labeled")
    mask = np.array([[0, 0, 0, 2, 2, 255]] * 3 + [[255] * 6], np.uint8)
    _write(tmp_path, sample, mask)
    row = _facts(tmp_path, sample).loc["train/a"]
    assert row[pixel_columns(3)].tolist() == [9, 0, 6]
    assert row["ignore_share"] == pytest.approx(9 / 24)
    assert (row["image_size"], row["mask_size"]) == ("4x6", "4x6")
    pixels = read_image(tmp_path / sample.image)
    assert row["image_sha256"] == hashlib.sha256(b"4x6" + pixels.tobytes()).hexdigest()
    assert row[["image_error", "mask_error", "foreign_values", "twins_elsewhere"]].isna().all()


def test_hash_and_statistics_are_those_of_the_picture_to_the_last_digit(tmp_path: Path) -> None:
    blank, sample = _sample("a", "unlabeled"), _sample("b", "unlabeled")
    picture = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    _write(tmp_path, blank, np.zeros((4, 6), np.uint8))
    write_png(tmp_path / sample.image, picture)
    table = _facts(tmp_path, blank, sample)
    # Above 2**53, where a float would round it.
    assert int(table.loc["train/b", "perceptual_hash"]) == perceptual_hash(picture) > 2**53
    assert pd.isna(table.loc["train/a", "perceptual_hash"])
    assert table.loc["train/b", list(STATISTICS)].to_dict() == picture_statistics(picture)


def test_values_that_are_no_class_are_listed(tmp_path: Path) -> None:
    sample = _sample("a", "val")
    _write(tmp_path, sample, np.array([[0, 2, 3, 17, 254, 255]] * 4, np.uint8))
    assert _facts(tmp_path, sample).loc["val/a", "foreign_values"] == "3, 17, 254"


def test_the_mask_of_an_unlabelled_image_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labeled, unlabeled = _sample("a", "labeled"), _sample("b", "unlabeled")
    for value, sample in enumerate((labeled, unlabeled)):
        _write(tmp_path, sample, np.zeros((4, 6), np.uint8), value)
    opened = []
    read = facts_module.read_mask
    monkeypatch.setattr(facts_module, "read_mask", lambda path: opened.append(path.name) or read(path))
    table = _facts(tmp_path, labeled, unlabeled)
    assert opened == ["a.png"]
    assert table.loc["train/b", ["mask_size", "mask_error", "ignore_share", "pixels_0"]].isna().all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"", "not an image"),
        (b"no picture", "not an image"),
        ("half", "not an image"),
    ],
)
def test_a_bad_file_is_a_fact_not_an_exception(tmp_path: Path, content: bytes | str | None, reason: str) -> None:
    sample = _sample("a", "val")
    _write(tmp_path, sample, np.zeros((4, 6), np.uint8))
    for path in (tmp_path / sample.image, tmp_path / sample.mask):
        whole = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    row = _facts(tmp_path, sample).loc["val/a"]
    assert reason in row["image_error"]
    assert reason in row["mask_error"]
    assert str(tmp_path) not in row["image_error"] + row["mask_error"]
    assert row[["image_sha256", "image_size", "mask_size", "perceptual_hash", *STATISTICS]].isna().all()


def test_a_colour_picture_as_mask_is_an_error(tmp_path: Path) -> None:
    sample = _sample("a", "labeled")
    _write(tmp_path, sample, np.zeros((4, 6, 3), np.uint8))
    assert "3 channel(s)" in _facts(tmp_path, sample).loc["train/a", "mask_error"]


def test_a_validation_image_without_mask_is_an_error(tmp_path: Path) -> None:
    sample = _sample("a", "val", mask="")
    write_png(tmp_path / sample.image, np.zeros((4, 6, 3), np.uint8))
    assert _facts(tmp_path, sample).loc["val/a", "mask_error"] == "has no mask"


def test_copies_are_found_by_content_across_training_and_val_and_within_either(tmp_path: Path) -> None:
    samples = [
        _sample("a", "labeled"),
        _sample("b", "unlabeled"),
        _sample("c", "unlabeled"),
        _sample("d", "unlabeled"),
        _sample("e", "val"),
    ]
    for sample, value in zip(samples, (1, 1, 2, 3, 2), strict=True):
        _write(tmp_path, sample, np.zeros((4, 6), np.uint8), value)
    table = _facts(tmp_path, *samples)
    assert table.loc["train/a", "twins_within"] == "images/train/b.png"
    assert table.loc["train/c", "twins_elsewhere"] == "images/val/e.png"
    assert table.loc["val/e", "twins_elsewhere"] == "images/train/c.png"
    assert table["twins_within"].notna().tolist() == [True, True, False, False, False]
    assert table["twins_elsewhere"].notna().tolist() == [False, False, True, False, True]


def test_long_lists_of_copies_are_cut(tmp_path: Path) -> None:
    samples = [_sample(name, "unlabeled") for name in "abcdef"]
    for sample in samples:
        _write(tmp_path, sample, np.zeros((4, 6), np.uint8))
    assert _facts(tmp_path, *samples).loc["train/a", "twins_within"].endswith("d.png and 2 more")


def test_parallel_reading_keeps_the_order_and_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_parallel(lambda number: number**2, range(5), "squares of") == [0, 1, 4, 9, 16]
    assert "squares of 5/5 images" in capsys.readouterr().err
