"""Smaller copies of a data set."""

from pathlib import Path

import numpy as np
import pytest
from tiny import FOLDER

from ucc.config import DatasetParams, StreetsParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import read_image, read_mask, write_png
from ucc.data.sources import prepare_dataset
from ucc.data.sources.shrink import shrink, shrink_dataset
from ucc.errors import UserError


def test_the_longer_side_becomes_the_given_one_and_the_shape_stays() -> None:
    assert shrink(np.zeros((360, 480, 3), np.uint8), 240).shape == (180, 240, 3)
    assert shrink(np.zeros((480, 360), np.uint8), 240).shape == (240, 180)


def test_nothing_grows() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert shrink(pixels, 16) is pixels


def test_images_are_averaged_and_masks_keep_their_values() -> None:
    mask = np.repeat(np.repeat(np.array([[0, 7], [255, 3]], np.uint8), 20, axis=0), 20, axis=1)
    small = shrink(mask, 10)
    assert set(np.unique(small)) == {0, 3, 7, 255}
    np.testing.assert_array_equal(small, mask[::4, ::4])
    checks = np.indices((40, 40)).sum(axis=0) % 2 * 200
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    assert (shrink(image, 10) == 100).all()


def test_a_data_set_is_shrunk_with_its_masks(tmp_path: Path) -> None:
    streets = StreetsParams(train_images=2, val_images=1, height=32, width=64, seed=0)
    params = DatasetParams(name="streets", root=None, max_side=32, streets=streets, folder=FOLDER)
    info = prepare_dataset(params, tmp_path / "dataset", tmp_path / "raw")
    assert DatasetInfo.read(tmp_path / "dataset") == info
    images = sorted((tmp_path / "dataset/images").rglob("*.png"))
    assert len(images) == 3
    for path in images:
        mask = tmp_path / "dataset/masks" / path.relative_to(tmp_path / "dataset/images")
        assert read_image(path).shape == (16, 32, 3)
        assert read_mask(mask).shape == (16, 32)


def test_an_unreadable_file_leaves_the_data_set_as_it_was(tmp_path: Path) -> None:
    DatasetInfo("tiny", ("a", "b"), ((0, 0, 0), (9, 9, 9))).write(tmp_path / "set")
    write_png(tmp_path / "set/images/train/a.png", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "set/images/train/b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b\.png: not an image"):
        shrink_dataset(tmp_path / "set", 32)
    assert read_image(tmp_path / "set/images/train/a.png").shape == (64, 64, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
