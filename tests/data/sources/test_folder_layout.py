"""Images anywhere in a folder, masks for some of them: what pairs, what is measured on, and what cannot be used."""

import os
import shutil
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


def refused_anew(root: Path, **changes: Any) -> str:
    shutil.rmtree(root.parent / "out")
    return refused(root, **changes)


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
    assert "set dataset.folder.mask_suffix" in refused(mine, images=".", masks=".", image_suffix="_m", mask_suffix="_m")


@pytest.mark.parametrize(("of_image", "of_mask"), [("_sat", "_mask"), ("_sat", ""), ("_rgb_m", "_m"), ("_m", "_rgb_m")])
@pytest.mark.parametrize(("images", "masks"), [(".", "."), ("images", "masks")])
def test_images_may_have_an_ending_of_their_own(
    images: str, masks: str, of_image: str, of_mask: str, tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    for name in ("a", "b", "one/c", "one/d"):
        image(root / images / f"{name}{of_image}.png")
        mask(root / masks / f"{name}{of_mask}.png")
    image(root / images / f"e{of_image}.png")
    (tmp_path / "val.txt").write_text(f"a{of_image}.png\none__c\n")
    endings = {"image_suffix": of_image, "mask_suffix": of_mask}
    prepared(root, images=images, masks=masks, **endings, val=str(tmp_path / "val.txt"))
    assert written(root) == {"a.png", "b.png", "one__c.png", "one__d.png", "e.png"}
    assert written(root, "masks") == written(root) - {"e.png"}
    assert written(root, "masks/val") == {"a.png", "one__c.png"}


def test_images_without_the_ending_are_left_out_and_told(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in "abcd":
        image(root / f"images/{name}_rgb.png")
        image(root / f"images/{name}_nir.png")
        mask(root / f"masks/{name}_gt.png")
    info = prepared(root, image_suffix="_rgb", mask_suffix="_gt")
    assert written(root) == {"a.png", "b.png", "c.png", "d.png"}
    told = "images/: left out, since their names do not end in dataset.folder.image_suffix = _rgb: a_nir.png, b_nir.png"
    assert any(note.startswith(told) for note in info.provenance["notes"])
    assert "holds no .jpg, .jpeg, .png" in refused_anew(root, image_suffix="_x", mask_suffix="_gt")
    assert "whose name ends in _x before that" in refused(root, image_suffix="_x", mask_suffix="_gt")
    assert "whose name ends in _gt.png before that" in refused(root, image_suffix="_rgb", mask_suffix="_gt.png")


def test_misnamed_masks_beside_images_with_an_ending_are_told(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in "abcde":
        image(root / f"{name}_sat.png")
        image(root / f"{name}_nir.png")
        mask(root / f"{name}_mask.png")
    mask(root / "a_seg.png")
    beside = {"images": ".", "masks": ".", "image_suffix": "_sat", "mask_suffix": "_mask"}
    notes = prepared(root, **beside).provenance["notes"]
    assert any("have a mask that ends in dataset.folder.mask_suffix = _mask: a_seg.png" in note for note in notes)
    (root / "e_mask.png").rename(root / "e_masks.png")
    (root / "d_mask.png").rename(root / "d_Mask.png")
    told = "names must end in dataset.folder.mask_suffix = _mask, unlike d_Mask.png, e_masks.png"
    assert told in refused_anew(root, **beside)


def test_masks_without_the_suffix_are_named(mine: Path) -> None:
    assert "must end in dataset.folder.mask_suffix = _mask, unlike a.png, b.png" in refused(mine, mask_suffix="_mask")


def test_masks_that_all_lack_their_image_hint_at_the_suffix(mine: Path) -> None:
    for file in list((mine / "masks").iterdir()):
        file.rename(file.with_stem(f"{file.stem}_mask"))
    assert "do dataset.folder.images, image_suffix and mask_suffix fit?" in refused(mine)
    prepared(mine, mask_suffix="_mask")


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_lossy_masks_are_refused_with_the_reason(name: str, mine: Path) -> None:
    (mine / "masks/a.png").rename(mine / "masks" / name)
    assert "JPEG and WebP change the values they store, so masks are PNG, BMP, TIFF or GIF files" in refused(mine)


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


def test_copies_of_one_photograph_are_drawn_together(mine: Path) -> None:
    copies = [f"{name}_jpg.rf.{number:032x}" for name in "pqrs" for number in range(3)]
    drawn = draw(copies, 0.2)
    assert len(drawn) == 3
    assert len({copy[0] for copy in drawn}) == 1
    assert draw(copies[:3], 0.2) == set()
    for kind in ("images", "masks"):
        for file in (mine / kind).iterdir():
            file.unlink()
    for copy in copies[:3]:
        image(mine / f"images/{copy}.png")
        mask(mine / f"masks/{copy}.png")
    assert "the 3 images with masks are copies (.rf. in their names) of too few photographs" in refused(mine)


def test_masks_of_other_kinds_are_left_out_where_the_image_has_its_own(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abcde":
        (mine / f"masks/{name}.png").rename(mine / f"masks/{name}_labelIds.png")
        mask(mine / f"masks/{name}_color.png")
    prepared(mine, mask_suffix="_labelIds")
    assert len(written(mine, "masks")) == 5
    told = capsys.readouterr().err
    assert (
        "masks/: left out, since their images have a mask that ends in dataset.folder.mask_suffix = _labelIds" in told
    )
    assert "a_color.png, b_color.png" in told
    mask(mine / "masks/a_labelIds_1.png")
    mask(mine / "masks/f_color.png")
    message = refused_anew(mine, mask_suffix="_labelIds")
    assert "names must end in dataset.folder.mask_suffix = _labelIds, unlike a_labelIds_1.png, f_color.png" in message


LOOKALIKES = {
    "endings in one folder": ("images", ["a_label_color", "b_label_color", "f_label_color"]),
    "beginnings": ("images", ["overlay_a", "overlay_b"]),
    "a folder named like the image": ("images", ["a/instance_000_a", "b/instance_001_b", "b/instance_002_b"]),
    "another folder": ("images", ["vis/a", "vis/b"]),
    "another folder and an ending": ("images", ["seg/a_x", "seg/b_x"]),
    "a second mask": (".", ["a_mask_1"]),
}


@pytest.mark.parametrize(("images", "names"), LOOKALIKES.values(), ids=LOOKALIKES)
def test_pictures_of_masks_are_not_learned_from(images: str, names: list[str], mine: Path) -> None:
    changes = {}
    if images == ".":
        for name in "abcde":
            (mine / f"images/{name}.png").rename(mine / f"{name}.png")
            (mine / f"masks/{name}.png").rename(mine / f"{name}_mask.png")
        changes = {"images": ".", "masks": ".", "mask_suffix": "_mask"}
    prepared(mine, **changes)
    for name in names:
        image(mine / images / f"{name}.png")
    message = refused_anew(mine, **changes)
    assert "named like masks, or like pictures of masks, of other images" in message
    for name in names:
        assert f"{name}.png" in message


@pytest.mark.parametrize("beside", [False, True])
def test_photographs_that_are_named_like_others_are_learned_from_which_is_told(
    beside: bool, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a-b", "a_0002", "b_0002", "c_color", "color/a", "color/b", "day 2/a", "instance_2/x", "instance_2/y"]
    names += ["vis/v", "vis/w"]
    for name in ("instance_1/x", "instance_1/y", "nir/v", "nir/w"):
        image(mine / f"images/{name}.png")
        mask(mine / f"masks/{name}.png")
    for name in names:
        image(mine / f"images/{name}.png")
    changes = {}
    if beside:
        for file in (mine / "masks").rglob("*.png"):
            place = mine / "images" / file.relative_to(mine / "masks")
            file.rename(place.with_name(f"{file.stem}_mask.png"))
        changes = {"masks": "images", "mask_suffix": "_mask"}
    prepared(mine, **changes)
    assert len(written(mine)) == 10 + len(names)
    told = capsys.readouterr().err
    assert "learned from as photographs, though named like images that have a mask" in told
    assert (
        "images/a-b.png, images/a_0002.png, images/b_0002.png, images/c_color.png, images/color/a.png and 6 more"
        in told
    )


def test_images_with_masks_of_their_own_and_others_are_no_lookalikes(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a_overlay", "b_overlay", "vis/a", "vis/b", "instance_1/x", "instance_1/y"):
        image(mine / f"images/{name}.png")
        mask(mine / f"masks/{name}.png")
    for name in ("f_2", "ab", "g", "g_parts", "f_parts"):
        image(mine / f"images/{name}.png")
    prepared(mine)
    assert "photographs" not in capsys.readouterr().err


@pytest.fixture
def on_top(tmp_path: Path) -> Path:
    """The split first, then images and masks."""
    for name in ("Train/{}/a", "Train/{}/one/b", "Train/{}/c", "Val/{}/d", "test/{}/e"):
        image(tmp_path / "mine" / f"{name.format('images')}.png")
        mask(tmp_path / "mine" / f"{name.format('masks')}.png")
    image(tmp_path / "mine/Train/images/f.png")
    image(tmp_path / "mine/test/images/g.png")
    (tmp_path / "mine/readme").mkdir()
    return tmp_path / "mine"


ON_TOP = {"images": "*/images", "masks": "*/masks"}


def test_the_split_may_stand_above_images_and_masks(on_top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(on_top, **ON_TOP, val=None)
    assert split_of(on_top) == {"train": {"a", "one__b", "c", "f"}, "val": {"d"}, "test": {"e"}}
    assert "test/images/: 1 images without masks in test/masks/ are left out" in capsys.readouterr().err
    prepared(on_top, **ON_TOP)
    assert split_of(on_top)["test"] == {"test__e"}
    assert len(split_of(on_top)["val"]) == 1
    assert "Train__one__b" in split_of(on_top)["train"] | split_of(on_top)["val"]
    assert "Val/images/ is learned from, too" in capsys.readouterr().err


def test_a_list_names_images_below_a_star_by_their_paths(on_top: Path, tmp_path: Path) -> None:
    (tmp_path / "chosen.txt").write_text("Train/images/a.png\nTrain/c\nval/Val__d\n", encoding="utf-8")
    for name in ("h", "i"):
        image(on_top / f"Train/images/{name}.png")
        mask(on_top / f"Train/masks/{name}.png")
    prepared(on_top, **ON_TOP, val=str(tmp_path / "chosen.txt"))
    assert split_of(on_top)["val"] == {"Train__a", "Train__c", "Val__d"}


def test_a_folder_below_a_star_that_cannot_be_read_is_named(on_top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir

    def denied(path: Path) -> Any:
        if path.name == "Val":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    message = refused(on_top, images="*/*/images", masks="*/*/masks")
    assert "folder that cannot be read" in message
    assert "Val/*/images" in message


def test_stars_stand_for_whole_folders_in_any_number(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in ("Train/Urban/{}/1", "Train/Rural/{}/1", "Val/Urban/{}/1"):
        image(root / f"{name.format('images_png')}.png")
        mask(root / f"{name.format('masks_png')}.png")
    prepared(root, images="*/*/images_png", masks="*/*/masks_png", val=None)
    assert split_of(root) == {"train": {"Urban__1", "Rural__1"}, "val": {"Urban__1"}}
    message = refused_anew(root, images="*/images*", masks="*/*/masks_png")
    assert "dataset.folder.images = */images*: a star stands for a whole name, as in */images" in message


def test_what_is_wrong_below_a_star_is_named(on_top: Path) -> None:
    (on_top / "Train/masks/a.png").rename(on_top / "Train/masks/x.png")
    image(on_top / "Val/images/g.png")
    image(on_top / "extra/images/h.png")
    message = refused(on_top, **ON_TOP, val=None)
    for words in (
        "Train/masks/: no image of the same name for x.png",
        "Val/masks/: every image needs a mask, there is none for g.png",
        "*/images/ and */masks/ may hold train, val, test, not extra",
    ):
        assert words in message
    assert "*/pictures/: missing folder" in refused(on_top, images="*/pictures", masks="*/masks")
    assert "*/masks/: no image of the same name for Train/masks/x.png" in refused(on_top, **ON_TOP)


def test_what_a_mac_packs_beside_folders_does_not_matter(mine: Path) -> None:
    image(mine / "__MACOSX/pictures/a.png")
    for name in "abcdef":
        (mine / f"images/{name}.png").rename(mine / f"{name}.png")
    (mine / "images").rmdir()
    prepared(mine, images=".")
    assert len(written(mine)) == 6


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


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("Train", "Val", "Test"),
        ("train2017", "val2017", "test2017"),
        ("training", "validation", "testing"),
        ("train_val", "validation_set", "TEST"),
    ],
)
def test_folders_are_splits_by_whichever_usual_name(
    train: str, val: str, test: str, with_test: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("images", "masks"):
        for name, now in (("train", train), ("valid", val), ("test", test)):
            (with_test / folder / name).rename(with_test / folder / "on the way")
            (with_test / folder / "on the way").rename(with_test / folder / now)
    prepared(with_test, val=None)
    assert split_of(with_test) == {"train": set("abcdef"), "val": {"v", "w"}, "test": {"t", "u"}}
    prepared(with_test)
    assert split_of(with_test)["test"] == {f"{test}__t", f"{test}__u"}
    assert f"images/{val}/ is learned from, too" in capsys.readouterr().err


def test_what_only_begins_like_a_split_is_none(with_test: Path) -> None:
    for folder in ("images", "masks"):
        (with_test / folder / "test").rename(with_test / folder / "testbed")
    prepared(with_test)
    assert "test" not in split_of(with_test)
    assert "may hold train, val, test, not testbed" in refused_anew(with_test, val=None)


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
