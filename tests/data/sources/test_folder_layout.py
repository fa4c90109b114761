"""Images anywhere in a folder, masks for some of them: what pairs, what is measured on, and what cannot be used."""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import FOLDER

from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.sources import summarize
from ucc.data.sources.folder import prepare_folder
from ucc.data.sources.pairing import draw
from ucc.errors import UserError

MINE = replace(FOLDER, val=0.2, classes=[{"name": "ground"}, {"name": "cat"}])


def image(path: Path) -> None:
    write_png(path, np.zeros((4, 6, 3), np.uint8))


def mask(path: Path) -> None:
    write_png(path, np.zeros((4, 6), np.uint8))


def prepared(root: Path, **changes: Any) -> DatasetInfo:
    return prepare_folder(root, root.parent / "out", replace(MINE, **changes))


def refused(root: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepared(root, **changes)
    assert not (root.parent / "out").exists()
    return str(caught.value)


def written(root: Path, kind: str = "images") -> set[str]:
    return {path.name for path in (root.parent / "out" / kind).rglob("*.*")}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for name in "abcde":
        image(root / f"images/{name}.png")
        mask(root / f"masks/{name}.png")
    image(root / "images/f.png")
    return root


def test_images_without_masks_are_the_unlabelled_set(mine: Path) -> None:
    info = prepared(mine)
    text = summarize(info, mine.parent / "out")
    assert text.startswith("mine: 5 train (4 with a mask), 1 val images, 2 classes")
    assert not (mine.parent / "out/images/val/f.png").exists()


def test_nested_folders_become_flat_names(mine: Path) -> None:
    image(mine / "images/one/two/cat.png")
    mask(mine / "masks/one/two/cat.PNG")
    prepared(mine)
    assert "one__two__cat.png" in written(mine)
    assert "one__two__cat.png" in written(mine, "masks")


def test_flat_names_that_collide_are_named(mine: Path) -> None:
    image(mine / "images/one/cat.png")
    image(mine / "images/one__cat.png")
    assert "images/one/cat.png, images/one__cat.png would all be named one__cat" in refused(mine)


def test_files_that_differ_by_their_suffix_alone_are_named(mine: Path) -> None:
    image(mine / "images/one/cat.png")
    (mine / "images/one/cat.JPG").write_bytes(b"")
    assert "one/cat.JPG and one/cat.png share the name one/cat" in refused(mine)


@pytest.mark.parametrize("name", ["my cat", 'über, "cat" 猫', "a.b.c", "it's 50%"])
def test_names_with_spaces_and_unicode_are_fine(name: str, mine: Path) -> None:
    image(mine / f"images/{name}.png")
    mask(mine / f"masks/{name}.png")
    prepared(mine)
    assert f"{name}.png" in written(mine) & written(mine, "masks")


def test_one_name_in_two_spellings_of_an_accent_pairs(mine: Path) -> None:
    image(mine / f"images/{unicodedata.normalize('NFC', 'é')}.png")
    mask(mine / f"masks/{unicodedata.normalize('NFD', 'é')}.png")
    prepared(mine)
    assert len(written(mine, "masks")) == 6


@pytest.mark.parametrize("name", [b"a\nb.png", b"a\tb.png", b"\xff.png", "a\u2028b.png".encode()])
def test_names_that_break_lists_are_refused(name: bytes, mine: Path) -> None:
    Path(os.fsdecode(os.fsencode(mine / "images") + b"/" + name)).write_bytes(b"")
    message = refused(mine)
    assert "control characters or undecodable bytes in the name, rename: 'images/" in message
    assert os.fsdecode(name) not in message


@pytest.mark.parametrize("name", [" a.png", "a .png", "a.png ", " day/a.png"])
def test_names_with_a_space_that_nobody_sees_in_a_list_are_refused(name: str, mine: Path) -> None:
    place = mine / "images" / name
    place.parent.mkdir(exist_ok=True)
    place.touch()
    message = refused(mine)
    assert "space at the beginning or end of the name, rename: images/" in message


def test_names_too_long_for_a_file_system_are_named(mine: Path) -> None:
    deep = mine / "images" / ("x" * 120) / ("y" * 120)
    image(deep / "z.png")
    assert "folders and name together longer than 200 bytes" in refused(mine)
    (deep / "z.png").rename(mine / f"images/{'z' * 210}.png")
    assert "name longer than 200 bytes" in refused(mine)


def test_masks_may_lie_beside_their_images(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in ("a", "b", "one/c", "one/d"):
        image(root / f"{name}.png")
        mask(root / f"{name}_mask.png")
    image(root / "e.png")
    (root / "notes.txt").write_text("")
    info = prepared(root, images=".", masks=".", mask_suffix="_mask")
    assert written(root) == {"a.png", "b.png", "one__c.png", "one__d.png", "e.png"}
    assert written(root, "masks") == written(root) - {"e.png"}
    assert any("notes.txt" in note for note in info.provenance["notes"])


@pytest.mark.parametrize("name", ["b-mask.png", "b_MASK.PNG", "b_label.png"])
def test_a_misnamed_mask_beside_its_image_is_not_taken_for_a_photograph(name: str, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for stem in ("a", "b", "c", "d"):
        image(root / f"{stem}.png")
        mask(root / f"{stem}_mask.png")
    (root / "b_mask.png").rename(root / name)
    image(root / "white-mask.png")  # of no image
    message = refused(root, images=".", masks=".", mask_suffix="_mask")
    assert (
        f"masks of images beside them, but dataset.folder.mask_suffix is _mask: rename or move {name}\n"
        in f"{message}\n"
    )


def test_masks_may_lie_in_a_folder_within_that_of_the_images(mine: Path) -> None:
    for file in (mine / "images").iterdir():
        file.rename(mine / file.name)
    prepared(mine, images=".")
    assert written(mine) == {f"{name}.png" for name in "abcdef"}


def test_a_suffix_is_needed_to_tell_masks_from_images_beside_them(mine: Path) -> None:
    assert "set dataset.folder.mask_suffix" in refused(mine, images=".", masks=".")


def test_masks_without_the_suffix_are_named(mine: Path) -> None:
    assert "must end in dataset.folder.mask_suffix = _mask, unlike a.png, b.png" in refused(mine, mask_suffix="_mask")


def test_masks_that_all_lack_their_image_hint_at_the_suffix(mine: Path) -> None:
    for file in list((mine / "masks").iterdir()):
        file.rename(file.with_stem(f"{file.stem}_mask"))
    assert "do dataset.folder.images and mask_suffix fit?" in refused(mine)
    prepared(mine, mask_suffix="_mask")


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_lossy_masks_are_refused_with_the_reason(name: str, mine: Path) -> None:
    (mine / "masks/a.png").rename(mine / "masks" / name)
    assert "JPEG and WebP change the values they store, so masks are PNG, BMP or TIFF files" in refused(mine)


def test_other_files_are_left_out_and_told(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images/a.json", "images/Thumbs.db", "images/.hidden/x.png", "masks/labelmap.txt"):
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_text("")
    prepared(mine)
    assert len(written(mine)) == 6
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert [line.rpartition(": ")[2] for line in told] == ["a.json", "labelmap.txt"]


def no_images(root: Path) -> None:
    for file in (root / "images").iterdir():
        file.unlink()


def no_masks(root: Path) -> None:
    for file in (root / "masks").iterdir():
        file.unlink()


def two_masks(root: Path) -> None:
    for name in "abc":
        (root / f"masks/{name}.png").unlink()


def loop(root: Path) -> None:
    (root / "images/loop").symlink_to(root / "images")


def pipe(root: Path) -> None:
    os.mkfifo(root / "images/x.png")


def stray(root: Path) -> None:
    mask(root / "masks/one/a.png")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (no_images, "images/: holds no files"),
        (no_masks, "masks/: holds no files"),
        (two_masks, "at least 3 images with masks are needed, there are 2"),
        (loop, "link to a folder that it lies in, remove: images/loop"),
        (pipe, "neither file nor folder, remove: images/x.png"),
        (stray, "masks/: no image of the same name for one/a.png"),
    ],
)
def test_what_cannot_be_used_is_named(spoil: Callable[[Path], None], named: str, mine: Path) -> None:
    spoil(mine)
    assert named in refused(mine)


def test_what_does_not_pair_and_what_cannot_be_read_are_told_at_once(mine: Path) -> None:
    mask(mine / "masks/day one/orphan.png")
    (mine / "images/f.png").write_bytes(b"")
    (mine / "images/a.png").write_bytes((mine / "images/a.png").read_bytes()[:-20])
    write_png(mine / "masks/b.png", np.zeros((5, 6), np.uint8))
    image(mine / f"images/{'x' * 120}/{'y' * 120}/{'z' * 120}.png")
    image(mine / "images/one/cat.png")
    image(mine / "images/one__cat.png")
    message = refused(mine)
    for words in (
        "masks/: no image of the same name for day one/orphan.png",
        "images/f.png",
        "images/a.png",
        "masks/b.png is 5x6, its image 4x6",
        "longer than 200 bytes, shorten: images/xxx",
        "would all be named one__cat",
    ):
        assert words in message
    assert message.count("\n- ") == 6


def test_folders_that_do_not_exist_are_named(mine: Path) -> None:
    message = refused(mine, images="pictures", masks="labels")
    assert "pictures/: missing folder" in message
    assert "labels/: missing folder" in message


def test_an_unreadable_folder_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / "images/one").mkdir()
    listed = Path.iterdir

    def denied(path: Path) -> Any:
        if path.name == "one":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert "folder that cannot be read (Permission denied), mend or remove: images/one" in refused(mine)


def test_links_are_followed(mine: Path, tmp_path: Path) -> None:
    image(tmp_path / "elsewhere/g.png")
    (mine / "images/far").symlink_to(tmp_path / "elsewhere")
    (mine / "images/h.png").symlink_to(tmp_path / "elsewhere/g.png")
    prepared(mine)
    assert {"far__g.png", "h.png"} <= written(mine)
    assert not (tmp_path / "out/images/train/h.png").is_symlink()


@pytest.mark.parametrize("key", ["images", "masks"])
@pytest.mark.parametrize("folder", ["/etc", "../other"])
def test_folders_lie_below_the_root(key: str, folder: str, mine: Path) -> None:
    assert f"dataset.folder.{key} = {folder}: must be a folder below dataset.root" in refused(mine, **{key: folder})


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.2, True, "0.2", float("nan")])
def test_the_share_is_one(share: Any, mine: Path) -> None:
    assert "dataset.folder.val" in refused(mine, val=share)


def test_a_list_says_what_is_measured_on(mine: Path, tmp_path: Path) -> None:
    """By paths with or without suffix, or by ids; new masks do not change it."""
    image(mine / "images/one/g.png")
    mask(mine / "masks/one/g.png")
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("# measured on\n\nb\nval/one__g\nc.png\n", encoding="utf-8")
    prepared(mine, val=str(chosen))
    mask(mine / "masks/f.png")
    prepared(mine, val=str(chosen))
    measured = {path.name for path in (tmp_path / "out/images/val").iterdir()}
    assert measured == {"b.png", "c.png", "one__g.png"}
    assert len(written(mine)) == 7
    assert (tmp_path / "out/val_ids.txt").read_text(encoding="utf-8") == "val/b\nval/c\nval/one__g\n"


def test_a_list_may_lie_below_the_home_folder(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "chosen.txt").write_text("b\n", encoding="utf-8")
    prepared(mine, val="~/chosen.txt")
    assert {path.stem for path in (tmp_path / "out/images/val").iterdir()} == {"b"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\nval/x\nimages/b.png\n", "chosen.txt (dataset.folder.val): no such image: val/x, images/b.png"),
        ("a\nf\n", "chosen.txt (dataset.folder.val): without a mask, draw it or take the line out: f"),
        (
            "a\nb\nc\nd.png\ng\nval/val__g\n",
            "chosen.txt (dataset.folder.val): leaves 1 images with masks to learn from",
        ),
        ("val/g\n", "chosen.txt (dataset.folder.val): may mean two images, rename one of each: val/g (g or val/g)"),
        ("# none\n", "chosen.txt (dataset.folder.val): holds no ids"),
        (None, "chosen.txt (dataset.folder.val): cannot be read (No such file or directory)"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(lines: str | None, message: str, mine: Path, tmp_path: Path) -> None:
    for name in ("g", "val/g"):
        image(mine / f"images/{name}.png")
        mask(mine / f"masks/{name}.png")
    chosen = tmp_path / "chosen.txt"
    if lines is not None:
        chosen.write_text(lines, encoding="utf-8")
    assert message in refused(mine, val=str(chosen))


@pytest.mark.parametrize(("count", "share", "expected"), [(3, 0.01, 1), (3, 0.99, 1), (10, 0.25, 2), (100, 0.2, 20)])
def test_one_is_measured_on_at_least_and_two_stay(count: int, share: float, expected: int) -> None:
    assert len(draw([f"x{i}" for i in range(count)], share)) == expected


def test_the_draw_follows_names_alone_and_hardly_changes_with_new_files() -> None:
    names = [f"frame_{i}" for i in range(100)]
    drawn = draw(names, 0.2)
    assert drawn == draw(names[::-1], 0.2)
    assert drawn != set(names[:20])
    assert len(drawn - draw([*names, "new"], 0.2)) <= 1


@pytest.fixture
def with_test(mine: Path) -> Path:
    """Images and masks in a folder train and in one test, and in one that means val to others."""
    for folder in ("images", "masks"):
        (mine / folder).rename(mine / "train")
        (mine / folder).mkdir()
        (mine / "train").rename(mine / folder / "train")
    for name in ("test/t", "test/u", "valid/v", "valid/w"):
        image(mine / f"images/{name}.png")
        mask(mine / f"masks/{name}.png")
    return mine


def split_of(root: Path) -> dict[str, set[str]]:
    folders = (root.parent / "out/images").iterdir()
    return {folder.name: {path.stem for path in folder.iterdir()} for folder in folders}


def test_a_folder_test_beside_train_is_not_learned_from_when_val_is_drawn_or_listed(
    with_test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(with_test)
    assert split_of(with_test)["test"] == {"test__t", "test__u"}
    assert {"valid__v", "valid__w"} <= split_of(with_test)["train"] | split_of(with_test)["val"]
    assert {"valid__v", "valid__w"} & split_of(with_test)["train"]
    told = capsys.readouterr().err
    assert "images/valid/ is learned from, too" in told
    assert "images/test/" not in told
    (tmp_path / "chosen.txt").write_text("train/a\n", encoding="utf-8")
    prepared(with_test, val=str(tmp_path / "chosen.txt"))
    assert split_of(with_test)["test"] == {"test__t", "test__u"}
    assert split_of(with_test)["val"] == {"train__a"}


def test_images_without_masks_in_a_folder_test_are_left_out_which_is_told(
    with_test: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for left, kept in ((1, {"test__t"}), (2, set())):
        (with_test / f"masks/test/{'ut'[left - 1]}.png").unlink()
        prepared(with_test)
        assert split_of(with_test).get("test", set()) == kept
        assert not {"test__t", "test__u"} & (split_of(with_test)["train"] | split_of(with_test)["val"])
        assert f"images/test/: {left} images without masks in masks/test/ are left out" in capsys.readouterr().err


def test_a_folder_test_without_one_called_train_is_a_folder_like_others(
    with_test: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("images", "masks"):
        (with_test / folder / "train").rename(with_test / folder / "day one")
    prepared(with_test)
    assert "test" not in split_of(with_test)
    assert "images/test/ is learned from, too" in capsys.readouterr().err


def test_a_folder_that_is_listed_whole_is_not_said_to_be_learned_from(
    with_test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chosen.txt").write_text("valid/v\nvalid/w\n", encoding="utf-8")
    prepared(with_test, val=str(tmp_path / "chosen.txt"))
    assert split_of(with_test)["val"] == {"valid__v", "valid__w"}
    assert "learned from" not in capsys.readouterr().err


def test_a_folder_that_means_val_is_to_be_renamed(with_test: Path) -> None:
    assert "not valid; rename valid to val" in refused(with_test, val=None)


def test_what_a_desktop_leaves_beside_split_folders_does_not_matter(with_test: Path) -> None:
    for folder in ("images", "masks"):
        (with_test / folder / "valid").rename(with_test / folder / "val")
        (with_test / folder / "Thumbs.db").write_bytes(b"")
    prepared(with_test, val=None)
    assert split_of(with_test)["val"] == {"v", "w"}


def test_split_folders_may_be_nested_and_have_a_suffix_and_classes(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in ("train/one/a", "train/b", "val/one/c", "test/d"):
        image(root / f"pictures/{name}.png")
        mask(root / f"labels/{name}-gt.png")
    prepared(root, val=None, images="pictures", masks="labels", mask_suffix="-gt")
    out = tmp_path / "out"
    assert (out / "images/train/one__a.png").is_file()
    assert (out / "masks/val/one__c.png").is_file()
    assert (out / "masks/test/d.png").is_file()


def test_split_folders_may_hold_images_and_masks_side_by_side(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in ("train/a", "val/b"):
        image(root / f"{name}.png")
        mask(root / f"{name}_mask.png")
    layout = {"val": None, "images": ".", "masks": ".", "mask_suffix": "_mask"}
    image(root / "val/one/c.png")
    assert "val/: every image needs a mask, there is none for one/c.png" in refused(root, **layout)
    mask(root / "val/one/c_mask.png")
    prepared(root, **layout)
    assert written(root, "masks") == {"a.png", "b.png", "one__c.png"}
