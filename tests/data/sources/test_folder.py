"""A user's own folder: checked as a whole, then copied."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import FOLDER

from ucc.config import DatasetParams, StreetsParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.sources import prepare_dataset, summarize
from ucc.data.sources.folder import prepare_folder
from ucc.errors import UserError

NO_STREETS = StreetsParams(train_images=1, val_images=1, height=32, width=32, seed=0)


def from_params(root: str | None, out: Path) -> DatasetInfo:
    return prepare_dataset(
        DatasetParams(name="folder", root=root, max_side=None, streets=NO_STREETS, folder=FOLDER),
        out,
        out.parent / "raw",
    )


def write_pixels(path: Path, *shape: int) -> None:
    write_png(path, np.zeros((4, 6, *shape), np.uint8))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for name in ("train/a", "train/b", "val/c"):
        write_pixels(root / f"images/{name}.png", 3)
    for name in ("train/a", "val/c"):
        write_pixels(root / f"masks/{name}.png")
    values = {"name": "mine", "classes": ["ground", "cat"], "colors": [[0, 0, 0], [9, 9, 9]]}
    (root / "dataset.yaml").write_text(yaml.safe_dump(values))
    return root


def test_a_complete_folder_is_copied_as_it_is(mine: Path, tmp_path: Path) -> None:
    info = prepare_folder(mine, tmp_path / "out", FOLDER)
    assert info == DatasetInfo.read(tmp_path / "out")
    assert info.classes == ("ground", "cat")
    for file in (p.relative_to(mine) for p in mine.rglob("*.png")):
        assert (tmp_path / "out" / file).read_bytes() == (mine / file).read_bytes()
    assert summarize(info, tmp_path / "out").startswith("mine: 2 train (1 with a mask), 1 val images, 2 classes, in ")


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    with pytest.raises(UserError) as caught:
        prepare_folder(root, tmp_path / "out", FOLDER)
    for name in ("dataset.yaml", "images/train/", "images/val/", "masks/train/", "masks/val/", "classes: ["):
        assert name in str(caught.value)
    assert not (tmp_path / "out").exists()


def unlabelled_val_image(root: Path) -> None:
    write_pixels(root / "images/val/d.png", 3)


def same_stem(root: Path) -> None:
    (root / "images/train/a.jpg").write_bytes((root / "images/train/a.png").read_bytes())


def stray_mask(root: Path) -> None:
    write_pixels(root / "masks/train/a_mask.png")


def other_split(root: Path) -> None:
    write_pixels(root / "images/valid/e.png", 3)


def misplaced_image(root: Path) -> None:
    write_pixels(root / "images/e.png", 3)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (unlabelled_val_image, "none for d.png"),
        (same_stem, "a.jpg and a.png share the name a"),
        (stray_mask, "no image of the same name for a_mask.png"),
        (other_split, "may hold one folder for val, not valid beside val"),
        (misplaced_image, "may hold train, val, test, not e.png"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[Path], None], named: str, mine: Path, tmp_path: Path) -> None:
    spoil(mine)
    with pytest.raises(UserError, match=named):
        prepare_folder(mine, tmp_path / "out", FOLDER)


def test_files_of_other_kinds_are_left_out_which_is_told(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "images/val/notes.txt").write_text("")
    (mine / "images/README.dataset.txt").write_text("")
    prepare_folder(mine, tmp_path / "out", FOLDER)
    told = capsys.readouterr().err
    assert "images/: left out, since no folder of a split: README.dataset.txt" in told
    assert "images/val/: left out, since not .jpg" in told


def test_a_test_set_without_masks_is_left_out_which_is_told(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pixels(mine / "images/test/f.png", 3)
    write_pixels(mine / "images/test/g.png", 3)
    prepare_folder(mine, tmp_path / "out", FOLDER)
    assert not (tmp_path / "out/images/test").exists()
    assert "images/test/: left out, since masks/test/ is missing" in capsys.readouterr().err
    write_pixels(mine / "masks/test/g.png")
    prepare_folder(mine, tmp_path / "out", FOLDER)
    assert [path.name for path in (tmp_path / "out/images/test").iterdir()] == ["g.png"]
    assert "images/test/: 1 images without masks in masks/test/ are left out" in capsys.readouterr().err


def test_hidden_files_do_not_matter(mine: Path, tmp_path: Path) -> None:
    (mine / "images/train/.DS_Store").write_text("")
    prepare_folder(mine, tmp_path / "out", FOLDER)
    assert not (tmp_path / "out/images/train/.DS_Store").exists()


def test_an_earlier_data_set_survives_a_faulty_folder(mine: Path, tmp_path: Path) -> None:
    prepare_folder(mine, tmp_path / "out", FOLDER)
    (mine / "dataset.yaml").unlink()
    with pytest.raises(UserError):
        prepare_folder(mine, tmp_path / "out", FOLDER)
    assert DatasetInfo.read(tmp_path / "out").name == "mine"


def test_a_folder_is_never_copied_onto_itself(mine: Path) -> None:
    with pytest.raises(UserError, match="must lie apart"):
        prepare_folder(mine, mine, FOLDER)
    assert (mine / "dataset.yaml").exists()


def test_a_root_is_required_and_must_exist(tmp_path: Path) -> None:
    for root, message in ((None, "dataset.root must name"), (str(tmp_path / "nowhere"), "nowhere: no such folder")):
        with pytest.raises(UserError, match=message):
            prepare_dataset(
                DatasetParams(name="folder", root=root, max_side=None, streets=NO_STREETS, folder=FOLDER),
                tmp_path / "out",
                tmp_path / "raw",
            )


def test_a_root_may_begin_with_a_tilde(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(mine.parent))
    info = prepare_dataset(
        DatasetParams(name="folder", root="~/mine", max_side=None, streets=NO_STREETS, folder=FOLDER),
        tmp_path / "out",
        tmp_path / "raw",
    )
    assert info.name == "mine"
