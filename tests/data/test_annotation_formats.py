"""What the files of COCO, labelme and YOLO say becomes masks; what is wrong in them is named, and nothing drawn."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from annotated import (
    HEIGHT,
    WIDTH,
    coco,
    corners,
    expected,
    read,
    square,
    write_coco,
    write_labelme,
    write_photo,
    write_yolo,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ucc.data.annotations.__main__ import main
from ucc.data.annotations.regions import RunLengths, draw
from ucc.data.images import write_png
from ucc.errors import UserError


def test_an_outline_of_coco_covers_the_pixels_within_it(tmp_path: Path) -> None:
    outlines = [square(1, 2, 4), square(10, 2, 3)]
    other = {"segmentation": square(1, 8, 2), "category_id": 3}  # one polygon without a list around it
    main(write_coco(tmp_path, coco({"segmentation": outlines}, other)))
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
    main(write_coco(tmp_path, coco({"segmentation": segmentation, "iscrowd": 1})))
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), 2 * pixels.astype(np.int64))


def test_ids_may_be_text_or_numbers_with_a_point_and_sizes_may_be_missing(tmp_path: Path) -> None:
    content = coco({"segmentation": [square(1, 1, 8)], "image_id": 10.0, "category_id": "cats"})
    content["categories"].append({"id": "cats", "name": " cat "})
    content["images"][0] |= {"height": None, "width": None}
    del content["images"][1]["height"]
    main(write_coco(tmp_path, content))
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2)))


def test_images_of_which_no_pixels_are_known_get_no_mask_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = (
        {"segmentation": [square(1, 1, 8), [1, 1, 5, 5]]},
        {"image_id": 11, "segmentation": None},
        {"image_id": 11, "segmentation": [square(1, 1, 8)]},
        {"image_id": 14, "segmentation": [[1, 1, 5, 5]]},
        {"image_id": 13, "segmentation": [square(1, 1, 8)]},
    )
    content = coco(*annotations, images=5)
    content["images"][3]["file_name"] = "z.png"
    main(write_coco(tmp_path, content, images=5))
    assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == ["_classes.csv", "x0.png"]
    told = capsys.readouterr().err
    assert "2 images with objects of which no outline is known, so without a mask: x1.png, x4.png" in told
    assert "1 images without shapes, so unlabelled (if they show nothing, --empty-as-background): x2.png" in told
    assert f"1 images not in {tmp_path / 'images'} and left out: z.png" in told
    assert "2 outlines of fewer than three points are left out" in told
    assert "cat: value 2, in 1 of 1 masks" in told


def changed(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        if to is KeyError:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = to

    return change


OUTLINE = ("annotations", 0, "segmentation")


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
        (changed("categories", 0, "name", to=" "), "category 0 (counted from 0): the name of a class is empty; rename"),
        (
            changed("categories", 0, "name", to="???"),
            "category 0 (counted from 0): ??? cannot be a name in params.yaml",
        ),
        (changed("categories", 0, "name", to="a\nb"), "control characters in the name 'a\\nb'; rename it"),
        (changed("categories", 0, "name", to="\ud800"), "control characters in the name '\\ud800'; rename it"),
        (changed("categories", 1, "id", to=7), "category 1 (counted from 0): its id 7 is another's, too"),
        (
            changed("categories", 1, "id", to=True),
            "category 1 (counted from 0): id is missing or not what it should be",
        ),
        (
            changed("images", 0, "width", to=0),
            "image 0 (counted from 0): height 12 and width 0 are no size of an image",
        ),
        (changed("images", 0, "width", to=10**400), "image 0 (counted from 0): height and width: no list of numbers"),
        (changed("images", 0, "height", to=11.5), "height and width: a number of pixels that is not whole"),
        (changed("images", 0, "height", to=HEIGHT - 1), "image 0 (counted from 0): drawn on 16x11 pixels, "),
        (changed("images", 0, "file_name", to=1), "image 0 (counted from 0): file_name is missing"),
        (changed("annotations", 0, to=None), "annotation 0 (counted from 0): image_id is missing"),
        (changed("annotations", 0, "image_id", to=99), "annotation 0 (counted from 0): there is no image 99"),
        (changed("annotations", 0, "category_id", to="7"), "annotation 0 (counted from 0): there is no category 7"),
        (changed(*OUTLINE, to="all"), "segmentation is neither a list of polygons nor run lengths"),
        (changed(*OUTLINE, to=[[1, 1, 5, 1, 5]]), "an outline has an odd number of coordinates"),
        (changed(*OUTLINE, to=[[1, 1, "5", 1, 5, 5]]), "no list of numbers where one belongs"),
        (changed(*OUTLINE, to=[[1, 1, math.nan, 1, 5, 5]]), "no list of numbers where one belongs"),
        (changed(*OUTLINE, to=[[1, 1, 10**400, 1, 5, 5]]), "no list of numbers where one belongs"),
        (changed(*OUTLINE, to=[[1, 1, 1e9, 1, 5, 5]]), "x0.png: points far outside the image of 16x12 pixels"),
        (changed(*OUTLINE, to={"size": [12], "counts": [192]}), "run lengths without height and width"),
        (changed(*OUTLINE, to={"size": [12.5, 16], "counts": [192]}), "a number of pixels that is not whole"),
        (changed(*OUTLINE, to={"size": [12, 16], "counts": [191.5]}), "a number of pixels that is not whole"),
        (changed(*OUTLINE, to={"size": [12, 16]}), "counts is missing or not what it should be"),
        (
            changed(*OUTLINE, to={"size": [16, 12], "counts": [192]}),
            "run lengths for 12x16 pixels, the image has 16x12",
        ),
        (changed(*OUTLINE, to={"size": [12, 16], "counts": [100]}), "run lengths that do not fill the image"),
        (changed(*OUTLINE, to={"size": [12, 16], "counts": [193, -1]}), "run lengths that do not fill the image"),
        (changed(*OUTLINE, to={"size": [12, 16], "counts": "ab"}), "damaged run lengths"),
        (changed(*OUTLINE, to={"size": [12, 16], "counts": "\x7f0"}), "damaged run lengths"),
        (changed(*OUTLINE, to={"size": [12, 16], "counts": "o" * 9 + "0"}), "damaged run lengths"),
    ],
)
def test_what_is_wrong_in_coco_is_named_and_nothing_is_drawn(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = coco({"segmentation": [square(1, 1, 8)]}, {"image_id": 11, "segmentation": [square(1, 1, 8)]})
    change(content)
    with pytest.raises(UserError) as raised:
        main(write_coco(tmp_path, content))
    assert message in str(raised.value)
    assert not (tmp_path / "masks").exists()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 3), st.integers(0, 255))
def test_run_lengths_are_drawn_only_if_they_fill_the_image(counts: list[int], spoilt: int, byte: int) -> None:
    """pycocotools leaves pixels that no run reaches as the memory was."""
    text = coco_mask.frPyObjects({"size": [6, 10], "counts": counts}, 6, 10)["counts"].decode()
    text = text[:spoilt] + chr(byte) + text[spoilt + 1 :]
    try:
        runs = RunLengths((6, 10), text).runs((6, 10))
    except UserError:
        return
    ends = draw([(runs, 1)], (6, 10), 0)
    assert coco_mask.area(runs) == ends.sum()
    assert runs == coco_mask.encode(np.asfortranarray(ends))


@pytest.mark.parametrize("counts", [[59], [61], [30, 29], [30, 31]])
@pytest.mark.parametrize("as_text", [False, True])
def test_run_lengths_of_one_pixel_too_few_or_too_many_are_refused(counts: list[int], as_text: bool) -> None:
    text = coco_mask.frPyObjects({"size": [6, 10], "counts": counts}, 6, 10)["counts"].decode()
    with pytest.raises(UserError, match="run lengths that do not fill the image"):
        RunLengths((6, 10), text if as_text else counts).runs((6, 10))


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_text_of_run_lengths_is_read_as_pycocotools_writes_it(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pixels: NDArray[np.uint8] = (rng.random(tuple(rng.integers(1, 60, 2))) < share).astype(np.uint8)
    size = (pixels.shape[0], pixels.shape[1])
    text = coco_mask.encode(np.asfortranarray(pixels))["counts"].decode()
    np.testing.assert_array_equal(draw([(RunLengths(size, text).runs(size), 1)], size, 0), pixels)


def bitmap(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def test_labelme_draws_what_has_an_area(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = bitmap(np.array([[0, 0], [1, 1], [1, 1]], np.uint8))
    arguments = write_labelme(
        tmp_path,
        "deep/x",
        {"label": "dog", "points": corners(0, 0, 3)},
        {"label": "cat", "points": [[9, 2], [5, 0]], "shape_type": "rectangle"},
        {"label": "_background_", "points": [[6, 0], [7, 1]], "shape_type": "rectangle"},
        {"label": "__ignore__", "points": [[0, 9], [2, 11]], "shape_type": "rectangle"},
        {"label": "eel", "points": [[13, 4], [14, 6]], "shape_type": "mask", "mask": mask},
        {"label": "line", "points": [[0, 0], [9, 9]], "shape_type": "line"},
        {"label": "thin", "points": [[1, 8], [3, 8], [2, 8]]},
    )
    main(arguments)
    wanted = expected((0, 0, 3, 2), (0, 9, 2, 255))
    wanted[0:2, 5:9] = 1
    wanted[0, 6] = 0
    wanted[5:7, 13:15] = 3
    np.testing.assert_array_equal(read(tmp_path / "masks/deep/x.png"), wanted)
    told = capsys.readouterr().err
    assert "1 shapes of kind line have no area and are left out" in told
    assert "eel: value 3, in 1 of 1 masks" in told
    assert "thin: value 4, in 0 of 1 masks" in told
    listed = (tmp_path / "masks/_classes.csv").read_text()
    assert listed == "Pixel Value,Class\n0,background\n1,cat\n2,dog\n3,eel\n4,thin\n"


def test_a_circle_has_the_area_of_one_and_may_leave_the_image(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.zeros((400, 400, 3), np.uint8))
    circle = {"label": "ball", "points": [[200, 200], [350, 200]], "shape_type": "circle"}
    (tmp_path / "x.json").write_text(json.dumps({"shapes": [circle]}))
    main([str(tmp_path), str(tmp_path), str(tmp_path / "masks")])
    assert read(tmp_path / "masks/x.png").sum() == pytest.approx(math.pi * 150**2, rel=0.01)
    circle["points"] = [[200, 200], [1200, 200]]
    (tmp_path / "x.json").write_text(json.dumps({"shapes": [circle]}))
    main([str(tmp_path), str(tmp_path), str(tmp_path / "masks"), "--replace"])
    assert read(tmp_path / "masks/x.png").sum() == 400 * 400


@pytest.mark.parametrize("stored", ["C:\\photos\\x.bmp", "../elsewhere/x.bmp", "x.bmp"])
def test_labelme_says_which_image_it_means(tmp_path: Path, stored: str) -> None:
    arguments = write_labelme(tmp_path, "x", {"label": "a", "points": corners(0, 0, 3)}, imagePath=stored)
    PIL.Image.new("RGB", (WIDTH + 1, HEIGHT)).save(tmp_path / "x.bmp")
    with pytest.raises(UserError, match=r"drawn on 16x12 pixels, .*x\.bmp has 17x12; take the images as they were"):
        main(arguments)


def test_labelme_means_images_from_where_its_files_lie(tmp_path: Path) -> None:
    """And not others of their names, of which there is one on each side."""
    for place in ("", "a/", "b/"):
        write_labelme(
            tmp_path, f"{place}json/1", {"label": "a", "points": corners(0, 0, 3)}, imagePath="../images/1.png"
        )
        (tmp_path / f"{place}json/1.png").unlink()
        write_photo(tmp_path / f"{place}images/1.png")
    main([str(tmp_path / "a"), str(tmp_path), str(tmp_path / "masks")])
    drawn = [path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png")]
    assert drawn == ["a/images/1.png"]


def test_labelme_files_that_were_renamed_alone_are_refused(tmp_path: Path) -> None:
    write_labelme(tmp_path, "1", {"label": "a", "points": corners(0, 0, 3)}, imagePath="1.png")
    arguments = write_labelme(tmp_path, "2", {"label": "b", "points": corners(0, 0, 3)}, imagePath="1.png")
    with pytest.raises(
        UserError, match=r"2\.json: says that it is of .*1\.png, and has the name of .*2\.png; mend one"
    ):
        main(arguments)


def test_all_files_of_labelme_that_are_wrong_are_named_at_once(tmp_path: Path) -> None:
    for name in ("x", "y"):
        arguments = write_labelme(tmp_path, name, {"label": ""})
    (tmp_path / "z.json").write_text("{")
    with pytest.raises(UserError, match=r"(?s)x\.json: shape 0.*y\.json: shape 0.*z\.json: no JSON"):
        main(arguments)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".bmp", ".tif", ".TIFF", ".webp"])
def test_images_may_be_of_every_kind_that_is_read(tmp_path: Path, suffix: str) -> None:
    arguments = write_yolo(tmp_path / "yolo", "0 0 0 1 0 1 1\n")
    (tmp_path / "yolo/train/images/x.png").unlink()
    content = coco({"segmentation": [square(1, 1, 8)]}, images=1)
    content["images"][0]["file_name"] = f"x{suffix}"
    write_coco(tmp_path / "coco", content, images=0)
    write_labelme(tmp_path / "labelme", "x", {"label": "a", "points": corners(0, 0, 3)})
    (tmp_path / "labelme/x.png").unlink()
    (tmp_path / "coco/images").mkdir()
    for folder in ("yolo/train/images", "coco/images", "labelme"):
        PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / folder / f"x{suffix}")
    main(arguments)
    main([str(tmp_path / "coco/coco.json"), str(tmp_path / "coco/images"), str(tmp_path / "coco/masks")])
    main([str(tmp_path / "labelme"), str(tmp_path / "labelme"), str(tmp_path / "labelme/masks")])
    assert len(list(tmp_path.rglob("masks/**/x.png"))) == 3


SHAPE = {"label": "a", "points": [[1, 2]] * 2, "shape_type": "mask"}
HUGE = bytearray(cv2.imencode(".png", np.ones((3, 3), np.uint8))[1].tobytes())
HUGE[16:24] = (10**5).to_bytes(4, "big") * 2


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "label is missing"),
        ({"points": []}, "label is missing"),
        ({"label": "${a}", "points": []}, "${a} cannot be a name in params.yaml; rename it"),
        ({"label": "a", "points": 1}, "points is missing"),
        ({"label": "a", "points": [[1, 2, 3]]}, "points are pairs of numbers"),
        ({"label": "a", "points": [[1, 2], [3, 4]]}, "a polygon of 2 points cannot be drawn"),
        ({"label": "a", "points": [[1, 2]] * 3, "shape_type": "cube"}, "a cube of 3 points cannot be drawn"),
        (SHAPE, "mask is missing"),
        (SHAPE | {"mask": "?"}, "its mask is damaged"),
        (SHAPE | {"mask": "ä"}, "its mask is damaged"),
        (SHAPE | {"mask": "aaaa"}, "its mask is no picture"),
        (SHAPE | {"mask": base64.b64encode(bytes(HUGE)).decode()}, "its mask is "),
        (SHAPE | {"mask": bitmap(np.ones((11, 3), np.uint8))}, "a mask that lies partly outside the image of 16x12"),
    ],
)
def test_a_shape_of_labelme_that_is_wrong_is_named(tmp_path: Path, shape: Any, message: str) -> None:
    with pytest.raises(UserError) as raised:
        main(write_labelme(tmp_path, "x", shape))
    assert f"{tmp_path / 'x.json'}: shape 0 (counted from 0)" in str(raised.value)
    assert message in str(raised.value)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("names", ["names: [dog, cat]", "names:\n  0: dog\n  1: cat"])
def test_outlines_of_yolo_are_shares_of_the_image(
    tmp_path: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "1 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n\n0 0 0 0.125 0 0.125 0.25 0 0.25\n"
    main(write_yolo(tmp_path, lines, names))
    wanted = expected()
    wanted[0:3, 0:2] = 1
    wanted[3:9, 4:8] = 2
    np.testing.assert_array_equal(read(tmp_path / "masks/train/images/x.png"), wanted)
    assert "1 images without shapes, so unlabelled" in capsys.readouterr().err


def test_boxes_of_yolo_make_no_mask(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no image has shapes to draw; 1 images with objects of which no outline is known"
    ):
        main(write_yolo(tmp_path, "0 0.5 0.5 0.1 0.1\n0 0 0 0.125 0 0.125 0.25 0 0.25\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 0 0 1 0 1 1\n", "line 1: there is no class 2; data.yaml names 0 to 1"),
        ("\nnan 0 0 1 0 1 1\n", "line 2: holds a number that is not finite"),
        ("0 0 0 1 0 1\n", "line 1: 5 numbers behind the class are no outline"),
        ("0 0 0 1 0 1 x\n", "line 1: holds something that is no number"),
        ("0 0 0 1 0 1 nan\n", "line 1: holds a number that is not finite"),
        ("0 0 0 500 0 1 1\n", "points far outside the image"),
    ],
)
def test_labels_of_yolo_that_are_wrong_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        main(write_yolo(tmp_path, text))
    assert "x.txt: line " in str(raised.value)
    assert message in str(raised.value)
    assert not (tmp_path / "masks").exists()


def test_labels_of_yolo_may_lie_beside_the_images(tmp_path: Path) -> None:
    arguments = write_yolo(tmp_path, "\ufeff0 0 0 1 0 1 1\n")
    (tmp_path / "train/labels/x.txt").rename(tmp_path / "train/images/x.txt")
    main(arguments)
    assert (tmp_path / "masks/train/images/x.png").is_file()


NAMELESS = ["names: {}", "", "names: [", "names: {a: b}", "names: [???]", "names: [null]", "names: {true: a}"]


@pytest.mark.parametrize("names", NAMELESS)
def test_a_file_of_yolo_without_names_is_named(tmp_path: Path, names: str) -> None:
    with pytest.raises(UserError, match=r"data\.yaml: "):
        main(write_yolo(tmp_path, "0 0 0 1 0 1 1", names))


def test_where_labels_of_yolo_are_looked_for_is_told(tmp_path: Path) -> None:
    arguments = write_yolo(tmp_path, "0 0 0 1 0 1 1")
    (tmp_path / "train/labels").rename(tmp_path / "train/texts")
    with pytest.raises(
        UserError, match=r"no image has labels; those of .*images/x\.jpg would be .*labels/x\.txt, or beside it"
    ):
        main([arguments[0], str(tmp_path / "train/images"), arguments[2]])
