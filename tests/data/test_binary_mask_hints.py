"""Where there are binary masks, `inspect` names the commands that make masks of them, and these do."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import command, expected, read, write_photo
from binary_pictures import TWO_CLASSES, disc, inside, put, stored_lossily
from inspected import proposed, run
from numpy.typing import NDArray

from ucc.data.annotations.binary_masks import read_binary_mask
from ucc.data.images import write_png
from ucc.data.inspect.binary_mask_files import LOOKED_AT, binary_masks_hint

Layout = Callable[[str], dict[str, str]]  # where the picture of each class or object lies, and that of the image


def by_class(name: str) -> dict[str, str]:
    return {"cat": f"masks/cat/{name}.png", "dog": f"masks/dog/{name}.PNG", "": f"images/{name}.jpg"}


def by_class_and_ending(name: str) -> dict[str, str]:
    return {"cat": f"masks/cat/{name}_MA.tif", "dog": f"masks/dog/{name}_EX.tif", "": f"images/{name}.jpg"}


def by_class_and_split(name: str) -> dict[str, str]:
    split = "val" if int(name[1:]) % 2 else "train"
    return {place: f"masks/{split}/{place}/{name}.png" for place in ("cat", "dog")} | {"": f"images/{split}/{name}.jpg"}


def by_ending(name: str) -> dict[str, str]:
    return {"cat": f"masks/{name}_cat.png", "dog": f"masks/{name}_dog.png", "": f"photos of me/{name}.jpg"}


def by_image(name: str) -> dict[str, str]:
    return {"cat": f"masks/{name}/cat.png", "dog": f"masks/{name}/dog.png", "": f"images/{name}.jpg"}


def by_beginning(name: str) -> dict[str, str]:
    return {"cat": f"masks/cat_{name}.png", "dog": f"masks/dog_{name}.png", "": f"images/{name}.jpg"}


def objects_by_ending(name: str) -> dict[str, str]:
    return {"0": f"masks/{name}_0.png", "1": f"masks/{name}_1.png", "": f"images/{name}.jpg"}


def objects_by_image(name: str) -> dict[str, str]:
    return {"0": f"masks/{name}/0{name}.png", "1": f"masks/{name}/1{name}.png", "": f"images/{name}.jpg"}


def objects_beside_images(name: str) -> dict[str, str]:
    return {"0": f"{name}/masks/{name[-1]}0.png", "1": f"{name}/masks/{name[-1]}1.png", "": f"{name}/images/{name}.png"}


def objects_with_names(name: str) -> dict[str, str]:
    return {"0": f"masks/{name}_obj0.png", "1": f"masks/{name}_obj1.png", "": f"images/{name}.jpg"}


def make(root: Path, layout: Layout) -> None:
    """Six images, four of them with binary masks."""
    for number in range(6):
        for index, (label, place) in enumerate(layout(f"x{number}").items()):
            if not label:
                write_photo(root / place, number)
            elif number < 4:
                put(root / place, inside(5 * index, 1, 4))


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (by_class, "a=b"),
        (by_class_and_ending, "-o"),
        (by_class_and_split, "my photos"),
        (by_ending, "photos"),
        (by_beginning, "photos"),
        (by_image, "photos"),
    ],
)
def test_inspect_names_the_commands_that_draw_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path(name), layout)
    told = run("--", name).stderr
    assert ", of the classes cat, dog. To draw" in told
    section, masks = follow(told)
    assert [entry["name"] for entry in section["classes"]] == ["background", "cat", "dog"]
    assert len(masks) == 4
    for mask in masks:
        np.testing.assert_array_equal(read(mask), expected((0, 1, 4, 1), (5, 1, 4, 2)))


@pytest.mark.parametrize("layout", [objects_by_ending, objects_with_names, objects_by_image, objects_beside_images])
def test_inspect_names_the_commands_that_draw_objects(tmp_path: Path, layout: Layout) -> None:
    make(tmp_path, layout)
    told = run(str(tmp_path)).stderr
    assert "with the name of their class in place of CLASS:" in told
    section, masks = follow(told.replace("CLASS=", "cell="))
    assert [entry["name"] for entry in section["classes"]] == ["background", "cell"]
    assert len(masks) == 4
    for mask in masks:
        np.testing.assert_array_equal(read(mask), expected((0, 1, 4, 1), (5, 1, 4, 1)))


def smoothed(path: Path) -> None:
    put(path, disc(255, 1.3))


def lossy(path: Path) -> None:
    stored_lossily(path, disc(255, 1))


@pytest.mark.parametrize(
    ("ending", "write"), [(".png", smoothed), ("_mask.png", smoothed), (".jpg", lossy), ("_mask.jpg", lossy)]
)
def test_masks_of_one_class_with_shades_become_black_and_white(
    tmp_path: Path, ending: str, write: Callable[[Path], None]
) -> None:
    (tmp_path / "masks").mkdir()
    for number in range(6):
        write(tmp_path / f"masks/x{number}{ending}")
        (height, width) = read_binary_mask(tmp_path / f"masks/x{number}{ending}").shape
        write_png(tmp_path / f"images/x{number}.png", np.full((height, width, 3), number, np.uint8))
    told = run(str(tmp_path)).stderr
    section, masks = follow(told.replace("CLASS=", "cell="))
    assert [entry["name"] for entry in section["classes"]] == ["background", "cell"]
    assert len(masks) == 6
    for mask in masks:
        wanted = read_binary_mask(tmp_path / f"masks/{mask.stem}{ending}")
        np.testing.assert_array_equal(read(mask), wanted.astype(int))
        assert wanted.any()


def follow(told: str) -> tuple[dict[str, Any], list[Path]]:
    """Run both commands; the section that is proposed then, and the masks drawn."""
    draw_them, look = (line for line in told.splitlines() if line.startswith("    python -m ucc.data."))
    arguments = shlex.split(draw_them)[3:]
    assert command(*arguments).returncode == 0
    section: dict[str, Any] = proposed(run(*shlex.split(look)[3:]).stdout)["folder"]
    return section, sorted(Path(arguments[-1]).rglob("*.png"))


@pytest.mark.parametrize(
    ("endings", "mask"),
    [
        (("_labels", "_instances"), TWO_CLASSES.astype(np.uint8)),
        (("_mask", "_color"), inside(1, 1, 8)),
        (("", "_vis"), inside(1, 1, 8)),
        (("_left", "_right"), TWO_CLASSES.astype(np.uint8)),
    ],
)
def test_masks_of_another_kind_are_no_hint(tmp_path: Path, endings: tuple[str, str], mask: NDArray[np.uint8]) -> None:
    for number in range(6):
        write_photo(tmp_path / f"images/x{number}.jpg", number)
        for ending in endings:
            put(tmp_path / f"masks/x{number}{ending}.png", mask)
    found = run(str(tmp_path))
    assert found.returncode == 0
    assert "binary masks" not in found.stderr
    assert proposed(found.stdout)["folder"]["mask_suffix"] == endings[0]


def test_folders_of_splits_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(4):
            write_photo(tmp_path / f"images/{split}{number}.jpg", number)
            put(tmp_path / f"masks/{split}/{split}{number}.png", inside(1, 1, 8))
    assert "binary masks" not in run(str(tmp_path)).stderr


def test_splits_with_the_same_names_are_no_hint(tmp_path: Path) -> None:
    """No pattern could tell them apart."""
    for split in ("train", "val"):
        for number in range(4):
            write_photo(tmp_path / f"images/{split}/x{number}.jpg", number)
            put(tmp_path / f"masks/{split}/cat/x{number}.png", inside(1, 1, 8))
    assert "binary masks" not in run(str(tmp_path)).stderr


@pytest.mark.parametrize("folders", [("annotator1", "annotator2"), ("1", "2")])
def test_folders_that_differ_by_number_are_no_classes(tmp_path: Path, folders: tuple[str, str]) -> None:
    for number in range(4):
        write_photo(tmp_path / f"images/x{number}.jpg", number)
        for folder in folders:
            put(tmp_path / f"masks/{folder}/x{number}.png", inside(1, 1, 8))
    assert "binary masks" not in run(str(tmp_path)).stderr


def test_every_second_mask_is_seen(tmp_path: Path) -> None:
    """As many that a sample which takes every second one would see one kind alone."""
    for number in range(LOOKED_AT):
        write_photo(tmp_path / f"images/x{number}.jpg")
        for ending in ("cell", "overlay"):
            put(tmp_path / f"masks/x{number}_{ending}.png", inside(1, 1, 8))
    assert binary_masks_hint(tmp_path, "images", "masks", shaded=False) == ""


def test_images_that_are_not_named_like_their_folders_are_no_hint(tmp_path: Path) -> None:
    make(tmp_path, lambda name: {"0": f"{name}/masks/0.png", "": f"{name}/images/photo{name}.png"})
    assert "binary masks" not in run(str(tmp_path)).stderr
