"""Smaller copies of a data set."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import FOLDER

from ucc.config import DatasetParams, StreetsParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import read_image, read_mask, write_png
from ucc.data.sources import prepare_dataset
from ucc.data.sources.shrink import shrink
from ucc.errors import UserError


def test_the_longer_side_becomes_the_given_one_and_the_shape_stays() -> None:
    assert shrink(np.zeros((360, 480, 3), np.uint8), 240).shape == (180, 240, 3)
    assert shrink(np.zeros((480, 360), np.uint8), 240).shape == (240, 180)


def test_nothing_grows() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert shrink(pixels, 16) is pixels
    assert shrink(pixels, None) is pixels


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


def write_camvid(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for stem in ("0001TP_1", "0001TP_2"):
            write_png(root / split / f"{stem}.png", rng.integers(0, 255, (40, 60, 3)).astype(np.uint8))
            write_png(root / f"{split}annot" / f"{stem}.png", np.full((40, 60), 11, np.uint8))


def prepare(root: Path, target: Path, max_side: int | None = 30, name: str = "camvid") -> DatasetInfo:
    streets = StreetsParams(train_images=2, val_images=1, height=32, width=64, seed=0)
    folder = replace(FOLDER, ignore=[255], classes=[{"name": "a"}, {"name": "b"}])
    params = DatasetParams(name=name, root=str(root), max_side=max_side, streets=streets, folder=folder)
    return prepare_dataset(params, target, target.parent / "raw")


def write_folder(root: Path) -> None:
    for split in ("train", "val"):
        write_png(root / f"images/{split}/a.png", np.full((40, 60, 3), 90, np.uint8))
        write_png(root / f"images/{split}/grey.png", np.full((40, 60), 90, np.uint8))
        write_png(root / f"masks/{split}/a.png", np.ones((40, 60), np.uint8))
        write_png(root / f"masks/{split}/grey.png", np.ones((40, 60), np.uint8))


@pytest.mark.parametrize(("name", "write", "value"), [("camvid", write_camvid, 255), ("folder", write_folder, 1)])
def test_data_of_others_are_shrunk_too_whatever_has_to_be_converted(
    tmp_path: Path, name: str, write: Callable[[Path], None], value: int
) -> None:
    write(tmp_path / "mine")
    prepare(tmp_path / "mine", tmp_path / "data/dataset", name=name)
    images = sorted((tmp_path / "data/dataset/images").rglob("*.png"))
    assert len(images) == 4
    for path in images:
        mask = read_mask(tmp_path / "data/dataset/masks" / path.relative_to(tmp_path / "data/dataset/images"))
        assert read_image(path).shape == (20, 30, 3)
        assert mask.shape == (20, 30)
        assert (mask == value).all()


def test_unreadable_files_are_all_named_where_they_came_from_and_the_earlier_data_set_stays(tmp_path: Path) -> None:
    write_camvid(tmp_path / "mine")
    target = tmp_path / "data/dataset"
    prepare(tmp_path / "mine", target, max_side=None)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    for file in ("train/0001TP_1.png", "val/0001TP_2.png", "trainannot/0001TP_2.png"):
        (tmp_path / "mine" / file).write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        prepare(tmp_path / "mine", target)
    for file in ("train/0001TP_1.png", "val/0001TP_2.png", "trainannot/0001TP_2.png"):
        assert f"{tmp_path}/mine/{file}: not an image" in str(caught.value)
    assert "2 of 4 images" in str(caught.value)
    assert "1 of 4 masks" in str(caught.value)
    assert "data/dataset" not in str(caught.value)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["dataset"]


@pytest.mark.parametrize(("name", "write"), [("camvid", write_camvid), ("folder", write_folder), ("streets", None)])
def test_a_full_disk_names_the_place_that_is_written_to_and_not_a_file_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None] | None
) -> None:
    (write or Path.mkdir)(tmp_path / "mine")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    def full_png(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    monkeypatch.setattr("ucc.data.sources.streets.write_png", full_png)
    with pytest.raises(UserError) as caught:
        prepare(tmp_path / "mine", tmp_path / "data/dataset", max_side=None, name=name)
    assert str(caught.value) == f"{tmp_path}/data: no space left on the disk. Make room and run the command again."
    assert list((tmp_path / "data").iterdir()) == []
