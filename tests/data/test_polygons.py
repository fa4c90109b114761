"""Masks drawn from the polygons of annotation tools: pixels and values, and what is refused before any is drawn."""

import base64
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspected import proposed, run
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tiny import REPOSITORY

from ucc.data.images import write_png
from ucc.data.inspect.__main__ import inspect
from ucc.data.polygons.__main__ import main
from ucc.data.polygons.regions import RunLengths, draw
from ucc.errors import UserError

HEIGHT, WIDTH = 12, 16
Coco = dict[str, Any]


def square(left: int, top: int, side: int) -> list[float]:
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def coco(*annotations: dict[str, Any], images: int = 2) -> Coco:
    return {
        "images": [{"id": 10 + i, "file_name": f"x{i}.png", "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [{"image_id": 10, "category_id": 7, **annotation} for annotation in annotations],
    }


def write_coco(root: Path, content: Any, images: int = 2) -> tuple[str, str, str]:
    """The file and its images; the arguments of the command."""
    for index in range(images):
        write_png(root / f"images/x{index}.png", np.full((HEIGHT, WIDTH, 3), index, np.uint8))
    (root / "coco.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return str(root / "coco.json"), str(root / "images"), str(root / "masks")


def write_labelme(root: Path, name: str, *shapes: dict[str, Any], **further: Any) -> tuple[str, str, str]:
    write_png(root / f"{name}.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    content = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes, "imageData": None, **further}
    (root / f"{name}.json").write_text(json.dumps(content))
    return str(root), str(root), str(root / "masks")


def read(path: Path) -> NDArray[np.int64]:
    return np.array(PIL.Image.open(path)).astype(np.int64)


def expected(*squares: tuple[int, int, int, int], elsewhere: int = 0) -> NDArray[np.int64]:
    mask = np.full((HEIGHT, WIDTH), elsewhere)
    for left, top, side, value in squares:
        mask[top : top + side, left : left + side] = value
    return mask


def test_an_outline_covers_the_pixels_within_it(tmp_path: Path) -> None:
    outlines = [square(1, 2, 4), square(10, 2, 3)]
    assert (
        main(
            write_coco(
                tmp_path, coco({"segmentation": outlines}, {"segmentation": [square(1, 8, 2)], "category_id": 3})
            )
        )
        == 0
    )
    # Categories get their values in the order of their ids.
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 2, 4, 2), (10, 2, 3, 2), (1, 8, 2, 1)))


@pytest.mark.parametrize("as_text", [False, True])
def test_run_lengths_cover_their_pixels(tmp_path: Path, as_text: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
    runs = np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=0, append=2)).tolist()
    counts: Any = np.diff([0, *runs]).tolist()
    if as_text:
        counts = coco_mask.encode(np.asfortranarray(pixels))["counts"].decode()
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    assert main(write_coco(tmp_path, coco({"segmentation": segmentation, "iscrowd": 1}))) == 0
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), 2 * pixels.astype(np.int64))


@pytest.mark.parametrize("order", [1, -1])
def test_where_shapes_overlap_the_smaller_lies_on_top(tmp_path: Path, order: int) -> None:
    large, small = {"segmentation": [square(1, 1, 8)]}, {"segmentation": [square(3, 3, 2)], "category_id": 3}
    assert main(write_coco(tmp_path, coco(*[large, small][::order]))) == 0
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2), (3, 3, 2, 1)))


def test_pixels_in_no_shape_are_background_or_ignored(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco({"segmentation": [square(1, 1, 8)]}))
    assert main([*arguments, "--ignore-elsewhere"]) == 0
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2), elsewhere=255))
    assert (tmp_path / "masks/_classes.csv").read_text() == "Pixel Value,Class\n1,dog\n2,cat\n"


def test_images_of_which_no_pixels_are_known_get_no_mask_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = (
        {"segmentation": [square(1, 1, 8)]},
        {"image_id": 11, "segmentation": []},
        {"image_id": 11, "segmentation": [square(1, 1, 8)]},
        {"segmentation": [[1, 1, 5, 5]]},
        {"image_id": 13, "segmentation": [square(1, 1, 8)]},
    )
    assert main(write_coco(tmp_path, coco(*annotations, images=4), images=3)) == 0
    assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == ["_classes.csv", "x0.png"]
    told = capsys.readouterr().err
    assert "1 images of objects of which only a box is known, so without a mask (x1.png)" in told
    assert "1 images without shapes, so without a mask: they are unlabelled (x2.png)" in told
    assert "left out (x3.png)" in told
    assert "1 outlines of fewer than three points are left out" in told
    assert "cat: value 2, in 1 of 1 masks" in told


def test_labelme_draws_what_has_an_area(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bitmap = np.zeros((3, 2), np.uint8)
    bitmap[1:] = 1
    mask = base64.b64encode(cv2.imencode(".png", bitmap)[1].tobytes()).decode()
    arguments = write_labelme(
        tmp_path / "a",
        "deep/x",
        {"label": "dog", "points": np.reshape(square(0, 0, 3), (-1, 2)).tolist()},
        {"label": "cat", "points": [[9, 2], [5, 0]], "shape_type": "rectangle"},
        {"label": "_background_", "points": [[6, 0], [7, 1]], "shape_type": "rectangle"},
        {"label": "__ignore__", "points": [[0, 9], [2, 11]], "shape_type": "rectangle"},
        {"label": "eel", "points": [[13, 4], [14, 6]], "shape_type": "mask", "mask": mask},
        {"label": "line", "points": [[0, 0], [9, 9]], "shape_type": "line"},
    )
    assert main(arguments) == 0
    found = read(tmp_path / "a/masks/deep/x.png")
    wanted = expected((0, 0, 3, 2), (0, 9, 2, 255))
    wanted[0:2, 5:9] = 1
    wanted[0, 6] = 0
    wanted[5:7, 13:15] = 3
    np.testing.assert_array_equal(found, wanted)
    assert "1 shapes of kind line have no area and are left out" in capsys.readouterr().err
    listed = (tmp_path / "a/masks/_classes.csv").read_text()
    assert listed == "Pixel Value,Class\n0,background\n1,cat\n2,dog\n3,eel\n"


def test_a_circle_has_the_area_of_one(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.zeros((400, 400, 3), np.uint8))
    circle = {"label": "ball", "points": [[200, 200], [350, 200]], "shape_type": "circle"}
    (tmp_path / "x.json").write_text(json.dumps({"shapes": [circle], "imagePath": "x.png"}))
    assert main([str(tmp_path), str(tmp_path), str(tmp_path / "masks")]) == 0
    assert read(tmp_path / "masks/x.png").sum() == pytest.approx(math.pi * 150**2, rel=0.01)


def test_classes_keep_their_values_when_others_come(tmp_path: Path) -> None:
    arguments = write_labelme(tmp_path, "x", {"label": "dog", "points": [[0, 0], [4, 0], [4, 4], [0, 4]]})
    assert main(arguments) == 0
    write_labelme(tmp_path, "y", {"label": "ape", "points": [[0, 0], [4, 0], [4, 4], [0, 4]]})
    assert main(arguments) == 0
    assert [int(read(tmp_path / f"masks/{name}.png").max()) for name in "xy"] == [1, 2]
    assert (tmp_path / "masks/_classes.csv").read_text() == "Pixel Value,Class\n0,background\n1,dog\n2,ape\n"


def test_a_mask_that_differs_is_left_unless_it_is_to_be_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = write_coco(tmp_path, coco({"segmentation": [square(1, 1, 8)]}))
    assert main(arguments) == 0
    drawn = (tmp_path / "masks/x0.png").read_bytes()
    assert main(arguments) == 0
    write_png(tmp_path / "masks/x0.png", np.ones((HEIGHT, WIDTH), np.uint8))
    by_hand = (tmp_path / "masks/x0.png").read_bytes()
    assert main(arguments) == 1
    assert "x0.png: left, since they differ from what the shapes give; --replace draws" in capsys.readouterr().err
    assert (tmp_path / "masks/x0.png").read_bytes() == by_hand
    assert main([*arguments, "--replace"]) == 0
    assert (tmp_path / "masks/x0.png").read_bytes() == drawn


def test_shapes_may_have_been_drawn_before_the_image_was_turned(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "images/x0.jpg", exif=exif)
    for height, width in ((HEIGHT, WIDTH), (WIDTH, HEIGHT)):
        content = coco({"segmentation": [square(1, 1, 8)]})
        content["images"][0].update(file_name="x0.jpg", height=height, width=width)
        assert main([*write_coco(tmp_path, content), "--replace"]) == 0
        assert read(tmp_path / "masks/x0.png").shape == (height, width)


@pytest.mark.parametrize("name", ["elsewhere/x0.png", "C:\\photos\\x0.png", "../../x0.png"])
def test_an_image_is_found_by_its_name_wherever_the_tool_had_it(tmp_path: Path, name: str) -> None:
    content = coco({"segmentation": [square(1, 1, 8)]})
    content["images"][0]["file_name"] = name
    assert main(write_coco(tmp_path / "a", content)) == 0
    assert [path.name for path in tmp_path.rglob("x0.png") if path.parent.name == "masks"] == ["x0.png"]


def changed(*keys: Any, to: Any) -> Callable[[Coco], None]:
    def change(content: Coco) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        if to is KeyError:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = to

    return change


FIRST = ("annotations", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed("categories", to=KeyError),
            "no annotations of COCO, which hold lists images, annotations, categories",
        ),
        (
            changed("categories", 0, "name", to=None),
            "category 0 (counted from 0): name is missing or not what it should",
        ),
        (changed("categories", 1, "id", to=7), "category 1 (counted from 0): its id 7 is another's, too"),
        (changed("images", 0, "width", to=0), "image x0.png: height 12 and width 0 are no size of an image"),
        (changed("images", 0, "height", to="12"), "image x0.png: height is missing or not what it should be"),
        (changed("images", 0, "height", to=HEIGHT - 1), "x0.png: drawn on 16x11 pixels, "),
        (changed("images", 1, "file_name", to="./x0.png"), "x0.png and ./x0.png would have one mask"),
        (changed(*FIRST, "image_id", to=99), "annotation 0 (counted from 0): there is no image 99 or no category 7"),
        (changed(*FIRST, "category_id", to=True), "annotation 0 (counted from 0): category_id is missing or not"),
        (changed(*FIRST, "segmentation", to="all"), "segmentation is neither a list of polygons nor run lengths"),
        (changed(*FIRST, "segmentation", to=[[1, 1, 5, 1, 5]]), "an outline has an odd number of coordinates"),
        (changed(*FIRST, "segmentation", to=[[1, 1, "5", 1, 5, 5]]), "coordinates that are no list of numbers"),
        (changed(*FIRST, "segmentation", to=[[1, 1, math.nan, 1, 5, 5]]), "coordinates that are no list of numbers"),
        (changed(*FIRST, "segmentation", to=[[1, 1, 1e9, 1, 5, 5]]), "x0.png: points far outside the image of 16x12"),
        (changed(*FIRST, "segmentation", to={"size": [12], "counts": [192]}), "run lengths without height and width"),
        (changed(*FIRST, "segmentation", to={"size": [12, 16]}), "counts is missing or not what it should be"),
        (changed(*FIRST, "segmentation", to={"size": [16, 12], "counts": [192]}), "run lengths for 12x16 pixels, the"),
        (changed(*FIRST, "segmentation", to={"size": [12, 16], "counts": [100]}), "run lengths that do not fill"),
        (changed(*FIRST, "segmentation", to={"size": [12, 16], "counts": [193, -1]}), "run lengths that do not fill"),
        (changed(*FIRST, "segmentation", to={"size": [12, 16], "counts": "ab"}), "x0.png: "),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_drawn(
    tmp_path: Path, change: Callable[[Coco], None], message: str
) -> None:
    content = coco({"segmentation": [square(1, 1, 8)]}, {"image_id": 11, "segmentation": [square(1, 1, 8)]})
    change(content)
    with pytest.raises(UserError) as raised:
        main(write_coco(tmp_path, content))
    assert message in str(raised.value)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"points": []}, "label is missing"),
        ({"label": "a", "points": 1}, "points is missing"),
        ({"label": "a", "points": [[1, 2, 3]]}, "points are pairs of numbers"),
        ({"label": "a", "points": [[1, 2], [3, 4]]}, "a polygon of 2 points cannot be drawn"),
        ({"label": "a", "points": [[1, 2]] * 3, "shape_type": "cube"}, "a cube of 3 points cannot be drawn"),
        ({"label": "a", "points": [[1, 2]] * 2, "shape_type": "mask", "mask": "?"}, "its mask is damaged"),
        ({"label": "a", "points": [[1, 2]] * 2, "shape_type": "mask", "mask": "aaaa"}, "its mask is no picture"),
    ],
)
def test_a_shape_of_labelme_that_is_wrong_is_named(tmp_path: Path, shape: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"x\.json: shape 0 \(counted from 0\): ") as raised:
        main(write_labelme(tmp_path, "x", shape))
    assert message in str(raised.value)
    assert not (tmp_path / "masks").exists()


def test_a_bitmap_beyond_the_image_is_named(tmp_path: Path) -> None:
    mask = base64.b64encode(cv2.imencode(".png", np.ones((3, 3), np.uint8))[1].tobytes()).decode()
    shape = {"label": "a", "points": [[14, 2], [17, 5]], "shape_type": "mask", "mask": mask}
    with pytest.raises(UserError, match="a mask that lies partly outside the image of 16x12 pixels"):
        main(write_labelme(tmp_path, "x", shape))


def test_more_classes_than_a_mask_has_values_are_refused(tmp_path: Path) -> None:
    shapes = [{"label": f"class {n}", "points": [[0, 0], [4, 0], [4, 4]]} for n in range(255)]
    with pytest.raises(UserError, match="255 classes: a mask has values for 254 beside the background"):
        main(write_labelme(tmp_path, "x", *shapes))


def test_images_of_one_name_in_several_folders_are_not_mixed_up(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco({"segmentation": [square(1, 1, 8)]}))
    for name in "ab":
        write_png(tmp_path / f"images/{name}/x0.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert main(arguments) == 0  # x0.png is the one above
    (tmp_path / "images/x0.png").unlink()
    with pytest.raises(UserError, match=r"x0\.png may be .*a/x0\.png, .*b/x0\.png: name the folder"):
        main(arguments)


def test_classes_of_several_files_are_numbered_together_and_each_means_its_own_images(tmp_path: Path) -> None:
    for split, category in (("train", "cat"), ("valid", "dog")):
        content = coco({"segmentation": [square(1, 1, 8)], "category_id": 1}, images=1)
        content["categories"] = [{"id": 1, "name": category}]
        write_coco(tmp_path / split, content)
        (tmp_path / split / "images/x0.png").rename(tmp_path / split / "x0.png")
    files = [str(tmp_path / split / "coco.json") for split in ("train", "valid")]
    assert main([*files, str(tmp_path), str(tmp_path / "masks")]) == 0
    assert [int(read(tmp_path / f"masks/{split}/x0.png").max()) for split in ("train", "valid")] == [1, 2]
    assert main([*files, str(tmp_path), str(tmp_path)]) == 0
    assert int(read(tmp_path / "valid/x0_mask.png").max()) == 2


def test_masks_among_the_images_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = write_labelme(tmp_path, "x", {"label": "dog", "points": [[0, 0], [4, 0], [4, 4], [0, 4]]})
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main([arguments[0], arguments[1], "masks"]) == 0
        assert main([arguments[0], arguments[1], "."]) == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        *("masks/x.png", "x.png", "x_mask.png")
    ]


def write_yolo(root: Path, text: str, names: Any = ("dog", "cat")) -> tuple[str, str, str]:
    write_png(root / "train/images/x.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    write_png(root / "train/images/y.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "train/labels").mkdir(parents=True)
    (root / "train/labels/x.txt").write_text(text)
    (root / "train/labels/y.txt").write_text("")
    (root / "data.yaml").write_text(json.dumps({"names": names, "nc": 2, "train": "../train/images"}))
    return str(root / "data.yaml"), str(root), str(root / "masks")


@pytest.mark.parametrize("names", [["dog", "cat"], {"0": "dog", "1": "cat"}])
def test_outlines_of_yolo_are_shares_of_the_image(
    tmp_path: Path, names: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = write_yolo(tmp_path, "1 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n\n0 0 0 0.125 0 0.125 0.25 0 0.25\n")
    if isinstance(names, dict):
        (tmp_path / "data.yaml").write_text("names:\n  0: dog\n  1: cat\n")
    assert main(arguments) == 0
    wanted = expected((0, 0, 2, 1))
    wanted[0:3, 0:2] = 1
    wanted[3:9, 4:8] = 2
    np.testing.assert_array_equal(read(tmp_path / "masks/train/images/x.png"), wanted)
    assert (
        "1 images without shapes, so without a mask: they are unlabelled (train/images/y.png)"
        in capsys.readouterr().err
    )


def test_boxes_of_yolo_make_no_mask(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no image has shapes to draw; 1 images of objects of which only a box is known"
    ):
        main(write_yolo(tmp_path, "0 0.5 0.5 0.1 0.1\n0 0 0 0.125 0 0.125 0.25 0 0.25\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 0 0 1 0 1 1\n", "line 1: there is no class 2; data.yaml names 0 to 1"),
        ("\nnan 0 0 1 0 1 1\n", "line 2: there is no class nan"),
        ("0 0 0 1 0 1\n", "line 1: 5 numbers behind the class are no outline"),
        ("0 0 0 1 0 1 x\n", "line 1: holds something that is no number"),
        ("0 0 0 1 0 1 nan\n", "points far outside the image"),
        ("0 0 0 500 0 1 1\n", "points far outside the image"),
    ],
)
def test_labels_of_yolo_that_are_wrong_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        main(write_yolo(tmp_path, text))
    assert "x.txt" in str(raised.value)
    assert message in str(raised.value)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("content", ["names: {}", "nc: 2", "names: [", "names: {a: b}", "- 1"])
def test_a_file_of_yolo_without_names_is_named(tmp_path: Path, content: str) -> None:
    arguments = write_yolo(tmp_path, "0 0 0 1 0 1 1")
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(UserError, match=r"data\.yaml: no "):
        main(arguments)


def test_where_labels_of_yolo_are_looked_for_is_told(tmp_path: Path) -> None:
    arguments = write_yolo(tmp_path, "0 0 0 1 0 1 1")
    (tmp_path / "train/labels").rename(tmp_path / "train/texts")
    with pytest.raises(UserError, match=r"no image has labels; of .*x\.jpg these would be .*x\.txt"):
        main([arguments[0], str(tmp_path / "train/images"), arguments[2]])


@given(st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_damaged_run_lengths_never_reach_the_library(text: str) -> None:
    """It leaves pixels that no run reaches as the memory was."""
    try:
        mask = draw([(RunLengths((HEIGHT, WIDTH), text), 1)], (HEIGHT, WIDTH), 0)
    except UserError:
        return
    assert set(np.unique(mask)) <= {0, 1}


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_text_of_run_lengths_is_read_as_the_library_writes_it(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = (rng.random(tuple(rng.integers(1, 60, 2))) < share).astype(np.uint8)
    size = (pixels.shape[0], pixels.shape[1])
    text = coco_mask.encode(np.asfortranarray(pixels))["counts"].decode()
    np.testing.assert_array_equal(draw([(RunLengths(size, text), 1)], size, 0), pixels)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    argv = [sys.executable, "-m", "ucc.data.polygons", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def test_errors_of_the_command_have_no_traceback(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, "{")
    for found, message in (
        (command(*arguments), "coco.json: no JSON ("),
        (command(str(tmp_path / "absent.json"), *arguments[1:]), "absent.json: cannot be read (No such file"),
        (command(str(tmp_path / "images"), *arguments[1:]), "images: no JSON of labelme in it or below"),
    ):
        assert found.returncode == 1
        assert found.stderr.startswith("error: ")
        assert message in found.stderr
        assert len(found.stderr.splitlines()) == 1


def test_a_mask_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco({"segmentation": [square(1, 1, 8)]}))
    (tmp_path / "masks").write_text("a file")
    found = command(*arguments)
    assert found.returncode == 1
    assert f"error: {tmp_path / 'masks'}" in found.stderr
    assert "Traceback" not in found.stderr


def of_yolo(root: Path) -> Path:
    write_yolo(root, "")
    for index in range(6):
        write_png(root / f"train/images/x{index}.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        (root / f"train/labels/x{index}.txt").write_text("1 0 0 1 0 1 0.5\n" if index < 4 else "")
    return root


def of_coco(root: Path) -> Path:
    annotations = [{"image_id": 10 + i, "segmentation": [square(1, 1, 8)]} for i in range(4)]
    write_coco(root, coco(*annotations, images=6), images=6)
    return root


def beside_json(root: Path) -> Path:
    for index in range(6):
        shapes = [{"label": "cat", "points": [[0, 0], [4, 0], [4, 4]]}] * (index < 4)
        write_labelme(root, f"x{index}", *shapes)
    return root


def by_split(root: Path) -> Path:
    """As Roboflow exports COCO's format."""
    for split in ("train", "valid"):
        of_coco(root / split)
        for path in (root / split / "images").iterdir():
            path.rename(root / split / path.name)
        (root / split / "images").rmdir()
    return root


def as_published(root: Path) -> Path:
    """As COCO itself is published."""
    of_coco(root)
    (root / "images").rename(root / "train2017")
    (root / "annotations").mkdir()
    (root / "coco.json").rename(root / "annotations/instances_train2017.json")
    return root


@pytest.mark.parametrize("make", [of_coco, beside_json, by_split, as_published, of_yolo])
def test_inspect_names_the_command_and_then_finds_the_masks(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    root = make(tmp_path / "my photos")
    told = run(str(root)).stderr
    assert "There are polygons in " in told
    commands = [line.strip() for line in told.splitlines() if line.startswith("    python -m ucc.data.polygons ")]
    assert len(commands) == 1
    assert command(*shlex.split(commands[0])[3:]).returncode == 0
    section = proposed(inspect(root))
    assert [entry["name"] for entry in section["folder"]["classes"]] == ["background", "cat"]
    assert section["folder"]["val"] == (None if make is by_split else 0.2)
