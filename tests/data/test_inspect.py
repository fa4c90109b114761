"""`python -m ucc.data.inspect`: its section fits the folder, and loads."""

import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import yaml
from numpy.typing import NDArray
from tiny import REPOSITORY

from ucc.data.images import read_mask, write_png
from ucc.data.inspect.__main__ import inspect
from ucc.data.sources import prepare_dataset
from ucc.errors import UserError
from ucc.params import load_params

PHOTO = np.zeros((8, 10, 3), np.uint8)
INDICES = np.zeros((8, 10), np.uint8)
INDICES[:, 2:4] = 1
INDICES[:, 4] = 2
COLORS = np.array([[0, 0, 0], [220, 20, 60], [30, 144, 255]], np.uint8)


def palette_mask(path: Path, colors: NDArray[np.uint8] = COLORS) -> None:
    picture = PIL.Image.fromarray(INDICES)
    picture.putpalette(colors.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def folder(root: Path, mask: NDArray[np.uint8] | Callable[[Path], None], images: str, masks: str, ending: str) -> Path:
    """Six images, four of them with masks."""
    for index in range(6):
        write_png(root / images / f"x{index}.png", PHOTO + index)
        place = root / masks / f"x{index}{ending}.png"
        if index >= 4:
            continue
        if callable(mask):
            mask(place)
        else:
            write_png(place, mask)
    return root


def proposed(text: str) -> dict[str, Any]:
    section: dict[str, Any] = yaml.safe_load(text)["dataset"]
    return section


LAYOUTS = [
    ("images", "masks", ""),
    ("images", "labels", ""),
    ("what I took", "labels", ""),
    ("Images", "annotations", "_labelTrainIds"),
    ("JPEGImages", "SegmentationClass", ""),
    (".", "masks", ""),
    (".", ".", "_mask"),
    ("images", "images", "_seg"),
]


@pytest.mark.parametrize(("images", "masks", "ending"), LAYOUTS)
@pytest.mark.parametrize(
    "mask",
    [INDICES, palette_mask, COLORS[INDICES], np.stack([INDICES] * 3, axis=-1)],
    ids=["grey", "palette", "RGB", "grey RGB"],
)
def test_the_section_replaces_that_of_a_preset_and_loads(
    mask: Any, images: str, masks: str, ending: str, tmp_path: Path
) -> None:
    root = folder(tmp_path / 'my "own" folder: #1', mask, images, masks, ending)
    given = "images" if images == masks == "images" else None
    text = inspect(root, images=given)
    preset = (REPOSITORY / "presets/folder.yaml").read_text(encoding="utf-8")
    pasted = tmp_path / "params.yaml"
    pasted.write_text(re.sub(r"(?ms)^dataset:.*?(?=^partition:)", lambda _: text + "\n", preset), encoding="utf-8")
    params = load_params(pasted)
    assert (params.dataset.folder.images, params.dataset.folder.masks) == (images, masks)
    assert params.dataset.folder.mask_suffix == ending
    info = prepare_dataset(params.dataset, tmp_path / "out", tmp_path / "raw")
    assert info.classes == ("background", "class_1", "class_2")
    (path, *_) = sorted((tmp_path / "out/masks/train").iterdir())
    np.testing.assert_array_equal(read_mask(path), INDICES)
    if not isinstance(mask, np.ndarray) or np.array_equal(mask, COLORS[INDICES]):
        assert info.colors == tuple(map(tuple, COLORS.tolist()))


def test_shares_of_the_pixels_stand_beside_the_classes(tmp_path: Path) -> None:
    text = inspect(folder(tmp_path, INDICES, "images", "masks", ""))
    for line in ("value: 0}  # 70.00%", "value: 1}  # 20.00%", "value: 2}  # 10.00%"):
        assert line in text
    assert "in 4 of 4 masks" in text


def test_index_classes_come_by_value_and_are_named_by_it(tmp_path: Path) -> None:
    values = np.array([26, 7, 11], np.uint8)[INDICES]
    classes = proposed(inspect(folder(tmp_path, values, "images", "masks", "")))["folder"]["classes"]
    assert [(c["value"], c["name"]) for c in classes] == [(7, "class_7"), (11, "class_11"), (26, "background")]


def test_colours_come_commonest_first_and_black_is_background(tmp_path: Path) -> None:
    colors = COLORS[[1, 0, 2]][INDICES]
    classes = proposed(inspect(folder(tmp_path, colors, "images", "masks", "")))["folder"]["classes"]
    assert [c["name"] for c in classes] == ["class_0", "background", "class_2"]
    assert classes[0] == {"name": "class_0", "color": [220, 20, 60]}


@pytest.mark.parametrize(
    ("values", "ignore", "classes"),
    [
        ((0, 1, 255), [255], [0, 1]),
        ((0, 255, 255), [], [0, 255]),
        ((255, 1, 1), [], [1, 255]),
        ((0, 1, 2), [], [0, 1, 2]),
        ((0, 128, 255), [], [0, 128, 255]),
        ((0, 127, 255), [], [0, 127, 255]),
        ((0, 85, 255), [], [0, 85, 255]),
        ((0, 91, 255), [255], [0, 91]),
        ((0, 255, 1), [255], [0, 1]),
        ((255, 0, 1), [], [0, 1, 255]),
    ],
)
def test_255_is_ignored_where_it_does_not_look_like_a_class(
    values: tuple[int, ...], ignore: list[int], classes: list[int], tmp_path: Path
) -> None:
    mask = np.array(values, np.uint8)[INDICES]
    section = proposed(inspect(folder(tmp_path, mask, "images", "masks", "")))["folder"]
    assert section["ignore"] == ignore
    assert [c["value"] for c in section["classes"]] == classes


WHITE, GREEN, RED = (255, 255, 255), (0, 128, 0), (128, 0, 0)


@pytest.mark.parametrize(
    ("palette", "values", "grey_values"),
    [
        ([WHITE, GREEN, GREEN], (0, 1, 2), None),
        ([(0, 0, 0), RED, GREEN, GREEN], (0, 2, 3), None),
        ([(0, 0, 0), RED, GREEN, (128, 128, 0), (0, 0, 128)], (0, 2, 4), (0, 2, 9)),
    ],
    ids=["white first, green twice", "an unused colour, green twice", "one value in a grey mask alone"],
)
def test_colours_that_are_made_up_are_those_of_no_other_class(
    palette: list[tuple[int, int, int]], values: tuple[int, ...], grey_values: tuple[int, ...] | None, tmp_path: Path
) -> None:
    def write(path: Path) -> None:
        picture = PIL.Image.fromarray(np.array(values, np.uint8)[INDICES])
        picture.putpalette([channel for color in palette for channel in color])
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)

    root = folder(tmp_path / "f", write, "images", "masks", "")
    if grey_values:
        write_png(root / "masks/x3.png", np.array(grey_values, np.uint8)[INDICES])
    params = yaml.safe_load((REPOSITORY / "presets/folder.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | yaml.safe_load(inspect(root))), encoding="utf-8")
    info = prepare_dataset(load_params(tmp_path / "params.yaml").dataset, tmp_path / "out", tmp_path / "raw")
    assert len(set(info.colors)) == len(info.colors) == len({*values, *(grey_values or ())})
    assert info.colors[:2] == (palette[values[0]], palette[values[1]])


def test_grey_and_rgb_masks_together_are_colours(tmp_path: Path) -> None:
    root = folder(tmp_path, COLORS[INDICES], "images", "masks", "")
    palette_mask(root / "masks/x0.png")
    write_png(root / "masks/x1.png", INDICES * 9)
    section = proposed(inspect(root))["folder"]
    assert section["mask_format"] == "color"
    colors = [c["color"] for c in section["classes"]]
    assert sorted(colors) == sorted([*COLORS.tolist(), [9, 9, 9], [18, 18, 18]])


def test_rgb_masks_of_grey_pixels_alone_hold_values_and_get_colours_that_can_be_told_apart(tmp_path: Path) -> None:
    root = folder(tmp_path, np.stack([INDICES] * 3, axis=-1), "images", "masks", "")
    section = proposed(inspect(root))["folder"]
    assert section["mask_format"] == "index"
    assert [entry["value"] for entry in section["classes"]] == [0, 1, 2]
    assert all(max(entry["color"]) > 100 for entry in section["classes"][1:])


def test_split_folders_are_seen(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder(tmp_path, INDICES, f"images/{split}", f"masks/{split}", "_m")
    section = proposed(inspect(tmp_path))["folder"]
    assert (section["val"], section["mask_suffix"]) == (None, "_m")


def test_what_was_found_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path, INDICES, "images", "masks", "")
    PIL.Image.fromarray(PHOTO[..., 0]).resize((30, 20)).save(root / "images/grey.jpg")
    (root / "images/bad.png").write_text("text")
    write_png(root / "masks/x3.png", INDICES[:4])
    (root / "masks/x4.jpg").write_bytes(b"")
    inspect(root)
    told = capsys.readouterr().err
    for line in (
        "8 images in images/, 4 with a mask in masks/, 4 without: the unlabelled set",
        "formats: 6 PNG, 1 JPEG; 8x10 to 20x30 pixels",
        "1 grey: converted to RGB, such as images/grey.jpg",
        "4 masks: 4 grey",
        "warning: JPEG and WebP change the values they store",
        "warning: not a JPEG, PNG, BMP, TIFF or WebP picture, whatever its name says; "
        "convert or remove: images/bad.png",
        "warning: mask of another size than its image: masks/x3.png",
    ):
        assert line in told


def test_what_download_would_refuse_in_split_folders_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        folder(tmp_path, INDICES, f"images/{split}", f"masks/{split}", "")
    (tmp_path / "images/train/readme.md").write_text("")
    write_png(tmp_path / "images/extra/y.png", PHOTO)
    write_png(tmp_path / "masks/train/z.png", INDICES)
    inspect(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert any("images/train/: left out, since not .jpg" in line and line.endswith("readme.md") for line in lines)
    warned = [line for line in lines if "warning: " in line]
    for words in (
        "masks/val/: every image needs a mask, there is none for x4.png, x5.png",
        "masks/train/: no image of the same name for z.png",
        "may hold train, val, test, not extra; set dataset.folder.val",
    ):
        assert sum(words in line for line in warned) == 1, words
    assert len(warned) == 3


@pytest.mark.parametrize(("train", "val"), [("Train", "valid"), ("train2017", "val2017"), ("training", "validation")])
def test_split_folders_are_seen_by_whichever_usual_name(train: str, val: str, tmp_path: Path) -> None:
    for split in (train, val):
        folder(tmp_path, INDICES, f"images/{split}", f"masks/{split}", "_m")
    assert proposed(inspect(tmp_path))["folder"]["val"] is None


def test_a_folder_val_without_masks_is_not_measured_on(tmp_path: Path) -> None:
    folder(tmp_path, INDICES, "train", "train", "_mask")
    write_png(tmp_path / "valid/y.png", PHOTO)
    assert proposed(inspect(tmp_path))["folder"]["val"] == 0.2


@pytest.mark.parametrize(
    ("parts", "val"), [(("Train", "Val"), None), (("seq1", "seq2"), 0.2), (("train_val", "TEST"), 0.2)]
)
def test_a_split_above_images_and_masks_is_seen(parts: tuple[str, str], val: float | None, tmp_path: Path) -> None:
    for part in parts:
        folder(tmp_path, INDICES, f"{part}/Images", f"{part}/labels", "_m")
    write_png(tmp_path / "vis/x.png", PHOTO)
    section = proposed(inspect(tmp_path))["folder"]
    assert (section["images"], section["masks"], section["mask_suffix"]) == ("*/Images", "*/labels", "_m")
    assert section["val"] == val


def test_the_first_folder_that_holds_masks_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """VOC has boxes in Annotations, LabelMe arrays in SegmentationClass."""
    root = folder(tmp_path, INDICES, "JPEGImages", "SegmentationClassPNG", "")
    folder(root, INDICES, "JPEGImages", "SegmentationObject", "")
    for name in ("Annotations/x0.xml", "SegmentationClass/x0.npy"):
        (root / name).parent.mkdir()
        (root / name).write_text("")
    assert proposed(inspect(root))["folder"]["masks"] == "SegmentationClassPNG"
    told = capsys.readouterr().err
    assert "SegmentationObject/ holds 4 pictures named like images, too" in told
    assert "give --masks SegmentationObject" in told
    assert "Annotations/ holds" not in told


def test_the_kinds_of_mask_are_listed_and_one_of_classes_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("_color", "_labelIds", "_instanceIds"):
        root = folder(tmp_path, INDICES, "images", "gt", kind)
    assert proposed(inspect(root))["folder"]["mask_suffix"] == "_labelIds"
    told = capsys.readouterr().err
    assert "_labelIds (4), _color (4), _instanceIds (4); taken is _labelIds" in told
    assert "warning" not in told


@pytest.mark.parametrize(
    ("images", "masks", "of_image", "of_mask"),
    [
        (".", ".", "_sat", "_mask"),
        ("images", "masks", "_sat", "_mask"),
        ("leftImg8bit", "gt", "_leftImg8bit", "_gtFine_labelIds"),
        ("images", "masks", "_rgb", ""),
    ],
)
def test_an_ending_of_the_images_own_is_found(
    images: str, masks: str, of_image: str, of_mask: str, tmp_path: Path
) -> None:
    for town in ("aachen", "bremen", "cologne"):
        for index in range(4):
            write_png(tmp_path / images / f"{town}_{index}_000019{of_image}.png", PHOTO + index)
    for name in ("aachen_0", "bremen_1", "cologne_2"):
        write_png(tmp_path / masks / f"{name}_000019{of_mask}.png", INDICES)
    text = inspect(tmp_path)
    section = proposed(text)["folder"]
    assert (section["image_suffix"], section["mask_suffix"]) == (of_image, of_mask)
    assert (section["images"], section["masks"]) == (images, masks)
    given = inspect(tmp_path, images, masks, image_suffix=of_image, mask_suffix=of_mask)
    assert given == text


def test_an_ending_of_some_images_is_none_where_others_are_named_like_the_masks(tmp_path: Path) -> None:
    for name in ("cat", "dog", "cow"):
        for ending in ("", "_night"):
            write_png(tmp_path / f"images/{name}{ending}.png", PHOTO)
        write_png(tmp_path / f"masks/{name}.png", INDICES)
    assert proposed(inspect(tmp_path))["folder"]["image_suffix"] == ""


@pytest.mark.parametrize(("images", "masks"), [(".", "."), ("images", "masks")])
def test_the_ending_of_images_fits_a_given_one_of_masks(images: str, masks: str, tmp_path: Path) -> None:
    for name in ("cat", "dog", "cow"):
        write_png(tmp_path / images / f"{name}_sat.png", PHOTO)
        write_png(tmp_path / masks / f"{name}_sat_vis.png", PHOTO)
        write_png(tmp_path / masks / f"{name}_gtFine_ids.png", INDICES)
    section = proposed(inspect(tmp_path, mask_suffix="_gtFine_ids"))["folder"]
    assert (section["image_suffix"], section["mask_suffix"]) == ("_sat", "_gtFine_ids")
    assert proposed(inspect(tmp_path, images, masks, "_sat", "_gtFine_ids"))["folder"] == section


@pytest.mark.parametrize("of_mask", ["_mask", "_maße"])
def test_accents_may_be_composed_in_images_otherwise_than_in_masks(of_mask: str, tmp_path: Path) -> None:
    for name in "üéå":
        write_png(tmp_path / "images" / unicodedata.normalize("NFD", f"{name}_größe.png"), PHOTO)
        write_png(tmp_path / "masks" / unicodedata.normalize("NFC", f"{name}{of_mask}.png"), INDICES)
    text = inspect(tmp_path)
    section = proposed(text)["folder"]
    assert (section["image_suffix"], section["mask_suffix"]) == ("_größe", of_mask)
    given = inspect(tmp_path, image_suffix=unicodedata.normalize("NFD", "_größe"), mask_suffix=of_mask)
    assert unicodedata.normalize("NFC", given) == text


def test_numbers_and_single_words_are_no_ending_of_images(tmp_path: Path) -> None:
    for name in ("cat_1", "cat_2", "dog_1", "dog_2", "cow_in_the_rain", "horse_on_a_hill"):
        write_png(tmp_path / f"images/{name}.png", PHOTO)
    for name in ("cat_3", "dog_3", "cow_4", "horse_4"):
        write_png(tmp_path / f"masks/{name}.png", INDICES)
    with pytest.raises(UserError, match="is named like an image"):
        inspect(tmp_path)


def test_large_photographs_are_told_where_they_can_be_shrunk(tmp_path: Path) -> None:
    root = folder(tmp_path, INDICES, "images", "masks", "")
    assert "  max_side: null\n" in inspect(root)
    write_png(root / "images/y.png", np.zeros((4, 1030, 3), np.uint8))
    text = inspect(root)
    assert "  max_side: null  # images of up to 1030 pixels a side: 512 to 1024 to begin with\n" in text
    assert yaml.safe_load(text)["dataset"]["max_side"] is None


def test_examples_of_unlabelled_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path, INDICES, "images", "masks", "")
    for index in range(12):
        write_png(root / f"images/y{index:02}.png", PHOTO)
    inspect(root)
    told = capsys.readouterr().err
    assert "14 without: the unlabelled set, such as images/x4.png, images/y01.png, images/y04.png, " in told


def test_a_folder_of_masks_further_down_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "f", INDICES, "Kvasir-SEG/images", "Kvasir-SEG/masks", "")
    folder(tmp_path / "f", INDICES, "more/deep/images", "more/deep/gtFine", "")
    with pytest.raises(UserError, match="Perhaps they lie in Kvasir-SEG/masks/, more/deep/gtFine/: inspect the folder"):
        inspect(tmp_path / "f")
    folder(tmp_path / "g", INDICES, "images/10k/train", "labels/sem_seg/masks/train", "")
    with pytest.raises(UserError, match=r"no mask in labels/ .* Perhaps they lie in labels/sem_seg/masks/: inspect"):
        inspect(tmp_path / "g")


def test_masks_whose_images_have_each_another_ending_are_named(tmp_path: Path) -> None:
    for name in ("1_sat", "1_mask", "2_rgb", "2_mask"):
        write_png(tmp_path / f"train/{name}.png", PHOTO)
    with pytest.raises(UserError, match="without an image of the bare name: train/1_mask, train/2_mask"):
        inspect(tmp_path)


def test_masks_of_which_none_pairs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path, INDICES, "images", "annotations/trimaps", "")
    with pytest.raises(UserError, match="no mask in annotations/ is named like an image in images/"):
        inspect(root)
    assert "annotations/trimaps/ holds 4 pictures named like images, too" in capsys.readouterr().err
    assert proposed(inspect(root, masks="annotations/trimaps"))["folder"]["masks"] == "annotations/trimaps"


def test_masks_of_16_bits_beside_colours_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, COLORS[INDICES], "images", "masks", "")
    cv2.imwrite(str(root / "masks/x1.png"), INDICES.astype(np.uint16) * 1000)
    with pytest.raises(UserError, match=r"values beyond 255, which are no colours: x1\.png"):
        inspect(root)


def test_images_that_are_numbered_in_sequences_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for patient in ("CS_4941", "DU_5851"):
        root = folder(tmp_path, INDICES, patient, patient, "_mask")
        for index in range(4):
            for ending in ("", "_mask"):
                (root / patient / f"x{index}{ending}.png").rename(root / patient / f"{patient}_{index}{ending}.png")
    inspect(root, images=".")
    told = "2 sequences, to go by the names, such as CS_4941/CS_4941_*: if these are frames or slices"
    assert told in capsys.readouterr().err
    (tmp_path / "one").mkdir()
    inspect(folder(tmp_path / "one", INDICES, "images", "masks", ""))
    assert "sequences" not in capsys.readouterr().err


def test_images_that_download_would_give_one_name_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, INDICES, "images", "masks", "")
    write_png(tmp_path / "images/one/cat.png", PHOTO)
    write_png(tmp_path / "images/one__cat.png", PHOTO)
    inspect(tmp_path)
    assert "warning: images/one/cat.png, images/one__cat.png would all be named one__cat" in capsys.readouterr().err


def test_smoothed_masks_are_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 40)[None, :, None] * np.array([220, 20, 60])
    smooth = cv2.resize(ramp.repeat(20, axis=0), (300, 60)).astype(np.uint8)
    smooth[::2] += np.arange(300, dtype=np.uint8)[None, :, None]
    with pytest.raises(UserError, match=r"more than 254 values or colours, .*x0\.png alone \d+: edges were smoothed"):
        inspect(folder(tmp_path, smooth, "images", "masks", ""))


def test_grey_masks_with_smoothed_edges_are_told_and_drawn_ones_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = np.zeros((40, 60), np.uint8)
    for value, at in enumerate((8, 20, 32), start=1):
        cv2.circle(drawn, (at, at), 7, value, -1)
        cv2.line(drawn, (at, 0), (at + 20, 39), value + 3, 1)  # a pole is a pixel wide
    inspect(folder(tmp_path / "drawn", drawn, "images", "masks", ""))
    assert "smoothed edges" not in capsys.readouterr().err
    binary = np.where(drawn > 0, 255, 0).astype(np.uint8)
    for name, smoothed in (
        ("blurred", cv2.GaussianBlur(binary, (5, 5), 0)),
        ("resized", cv2.resize(binary, (90, 60), interpolation=cv2.INTER_LINEAR)),
    ):
        inspect(folder(tmp_path / name, smoothed, "images", "masks", ""))
        assert "warning: smoothed edges (anti-aliasing, resizing), whose grey levels" in capsys.readouterr().err


def test_why_255_is_ignored_or_a_class_stands_beside_it(tmp_path: Path) -> None:
    for name, values, line in (
        ("ignored", (0, 1, 255), "ignore: [255]  # 255 mostly means no class: 10.00% of the pixels"),
        (
            "steps",
            (0, 128, 255),
            "value: 255}  # 10.00% of the pixels, in 4 of 4 masks; a class since all values are even",
        ),
        ("many", (255, 0, 1), "value: 255}  # 70.00% of the pixels, in 4 of 4 masks; a class since so many pixels"),
    ):
        mask = np.array(values, np.uint8)[INDICES]
        assert line in inspect(folder(tmp_path / name, mask, "images", "masks", ""))


def test_masks_that_were_jpegs_are_told_and_thin_classes_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = np.zeros((60, 80), np.uint8)
    cv2.circle(drawn, (30, 30), 15, 255, -1)
    for quality in (75, 90, 95):
        lossy = cv2.imdecode(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
        inspect(folder(tmp_path / str(quality), lossy, "images", "masks", ""))
        assert "warning: values scattered around much commoner ones, as a lossy format" in capsys.readouterr().err
    for value in range(1, 6):
        cv2.line(drawn, (10 * value, 0), (10 * value + 20, 59), value, 1)
    drawn[30:34, 10:14] = 250
    inspect(folder(tmp_path / "thin", drawn, "images", "masks", ""))
    assert "lossy" not in capsys.readouterr().err


def test_a_class_that_is_1_in_some_masks_and_255_in_others_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (np.where(INDICES == 1, value, 0).astype(np.uint8) for value in (1, 255))
    root = folder(tmp_path, one, "images", "masks", "")
    inspect(root)
    assert "warning: 255" not in capsys.readouterr().err
    write_png(root / "masks/x3.png", other)
    inspect(root)
    told = "warning: 255 is proposed as ignored, but stands alone or beside 0 only in masks/x3.png: if it is a class"
    assert told in capsys.readouterr().err


def test_masks_of_one_value_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing but 0"):
        inspect(folder(tmp_path, INDICES * 0, "images", "masks", ""))


def run(*arguments: str, restricted: bool = False) -> subprocess.CompletedProcess[str]:
    """The command; `restricted` as somebody to whom permissions apply: root without two of its capabilities."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-m", "ucc.data.inspect", *arguments]
    if restricted and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_command_prints_the_section_alone_to_stdout_or_writes_it(tmp_path: Path) -> None:
    root = folder(tmp_path / "mine", INDICES, "pictures", "truth", "-t")
    named = (str(root), "--images", "pictures", "--masks", "truth", "--mask-suffix=-t")
    printed = run(*named)
    assert printed.returncode == 0
    assert proposed(printed.stdout)["folder"]["mask_suffix"] == "-t"
    written = run(*named, "--out", str(tmp_path / "section.yaml"))
    assert written.stdout == ""
    assert (tmp_path / "section.yaml").read_text(encoding="utf-8") == printed.stdout


def test_the_command_refuses_in_one_message(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", PHOTO)
    for arguments, message in (
        ((str(tmp_path / "nowhere"),), "no such folder"),
        ((str(tmp_path),), "no masks to be seen"),
        ((str(tmp_path), "--masks", "nowhere"), "no such folder"),
        ((str(tmp_path), "--mask-suffix", "_m"), "no mask that can be read"),
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert message in done.stderr


def test_palettes_that_differ_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path / "f", palette_mask, "images", "masks", "")
    inspect(root)
    assert "palettes differ" not in capsys.readouterr().err
    palette_mask(root / "masks/x2.png", COLORS[[0, 2, 1]])
    inspect(root)
    said = capsys.readouterr().err
    assert "warning: the palettes differ: 1 is [220, 20, 60] in masks/x0.png and [30, 144, 255] in masks/x2.png" in said
    assert "dataset.folder.mask_format to color" in said


@pytest.mark.parametrize("option", ["images", "masks"])
@pytest.mark.parametrize("place", ["{}/images", "../elsewhere", "images/../../elsewhere"])
def test_a_folder_that_does_not_lie_below_is_refused(tmp_path: Path, option: str, place: str) -> None:
    root = folder(tmp_path / "f", INDICES, "images", "masks", "")
    folder(tmp_path / "elsewhere", INDICES, "images", "masks", "")
    with pytest.raises(UserError, match=rf"--{option} .*: must be a folder below {root}"):
        inspect(root, **{option: place.format(root)})


@pytest.mark.parametrize(
    ("out", "words"),
    [("f", "f: exists; move it or choose another --out."), ("file/section.yaml", "file: is a file where a folder")],
)
def test_a_place_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path, out: str, words: str) -> None:
    folder(tmp_path / "f", INDICES, "images", "masks", "")
    (tmp_path / "file").write_text("something")
    done = run(str(tmp_path / "f"), "--out", str(tmp_path / out))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "file"]


def test_a_file_that_exists_is_never_replaced(tmp_path: Path) -> None:
    folder(tmp_path / "f", INDICES, "images", "masks", "")
    out = tmp_path / "params.yaml"
    out.write_text("everything else: 1\n")
    done = run(str(tmp_path / "f"), "--out", str(out))
    assert (done.returncode, done.stderr) == (1, f"error: {out}: exists; move it or choose another --out.\n")
    assert out.read_text() == "everything else: 1\n"


def grey_rgb_mask(path: Path) -> None:
    write_png(path, np.stack([np.array([0, 127, 255], np.uint8)[INDICES]] * 3, axis=-1))


def grey_palette_mask(path: Path) -> None:
    palette_mask(path, np.stack([np.arange(256, dtype=np.uint8)] * 3, axis=-1))


def ignoring_mask(path: Path) -> None:
    write_png(path, np.array([0, 1, 255], np.uint8)[INDICES])


BOM = "\ufeff"
LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\ntraffic light:220,20,60:lamp,pole:on\ncat:30,144,255::\n"
)
PIXEL_VALUES = "Pixel Value, Class\n0, background\n1, traffic light\n2, cat\n"
NAMES = ("background", "traffic light", "cat")


def loaded(text: str, tmp_path: Path) -> tuple[tuple[str, ...], list[Any]]:
    """Names of the classes of the proposed section, and what it ignores, as training sees them."""
    preset = (REPOSITORY / "presets/folder.yaml").read_text(encoding="utf-8")
    pasted = re.sub(r"(?ms)^dataset:.*?(?=^partition:)", lambda _: text + "\n", preset)
    (tmp_path / "params.yaml").write_text(pasted, encoding="utf-8")
    dataset = load_params(tmp_path / "params.yaml").dataset
    return prepare_dataset(dataset, tmp_path / "out", tmp_path / "raw").classes, dataset.folder.ignore


def named_folder(tmp_path: Path, mask: Any, files: dict[str, str]) -> Path:
    root = folder(tmp_path / "f", mask, "images", "masks", "")
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("mask", "file", "text", "names", "ignore"),
    [
        (COLORS[INDICES], "labelmap.txt", LABELMAP, NAMES, []),
        (palette_mask, "labelmap.txt", LABELMAP, NAMES, []),
        (
            palette_mask,
            "masks/labelmap.txt",
            BOM + "sky:0,0,0\na:b: 220, 20 ,60:\r\n\ncat:30,144,255::",
            ("sky", "a:b", "cat"),
            [],
        ),
        (INDICES, "train/_classes.csv", BOM + PIXEL_VALUES, NAMES, []),
        (np.stack([INDICES] * 3, axis=-1), "_classes.csv", PIXEL_VALUES, NAMES, []),
        (
            COLORS[INDICES],
            "class_dict.csv",
            BOM + "name,r,g,b\nsky,0,0,0\ncar,220,20,60\ncat,30,144,255\n",
            ("sky", "car", "cat"),
            [],
        ),
        (
            COLORS[INDICES],
            "class_dict_seg.csv",
            ' Name, R, G, B\r\n"sky, high", 0, 0, 0\r\ncar, 220, 20, 60\r\n\r\ncat, 30, 144, 255\r\n',
            ("sky, high", "car", "cat"),
            [],
        ),
        (
            grey_rgb_mask,
            "class_dict.csv",
            "name,r,g,b\nsky,0,0,0\nsea,127,127,127\nroad,255,255,255",
            ("sky", "sea", "road"),
            [],
        ),
        (INDICES, "class_names.txt", "_background_\ncar\ncat", ("_background_", "car", "cat"), []),
        (INDICES, "classes.txt", "sky\ncar\ncat\n\n", ("sky", "car", "cat"), []),
        (ignoring_mask, "masks/labels.txt", BOM + "__ignore__\n_background_\ncat\n", ("_background_", "cat"), [255]),
        (ignoring_mask, "labels.txt", "sky\ncat\n", ("sky", "cat"), [255]),
        (INDICES, "_classes.csv", "Pixel Value, Class\n0, __ignore__\n1, car\n2, cat", ("car", "cat"), [0]),
        (COLORS[INDICES], "labelmap.txt", LABELMAP.replace("background", "__ignore__"), NAMES[1:], [[0, 0, 0]]),
    ],
)
def test_names_are_those_of_a_file_beside_the_masks(
    mask: Any, file: str, text: str, names: tuple[str, ...], ignore: list[Any], tmp_path: Path
) -> None:
    section = inspect(named_folder(tmp_path, mask, {file: text}))
    assert f"    classes:  # names from {file}\n" in section
    assert loaded(section, tmp_path) == (names, ignore)


def test_the_most_explicit_file_that_fits_is_taken_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "labelmap.txt": "sky:1,2,3::\n",
        "train/_classes.csv": PIXEL_VALUES + "3, dog\n",
        "valid/_classes.csv": PIXEL_VALUES + "3, dog\n",
        "classes.txt": "a\nb\nc",
    }
    root = named_folder(tmp_path, INDICES, files)
    assert [c["name"] for c in proposed(inspect(root))["folder"]["classes"]] == [*NAMES]
    told = capsys.readouterr().err
    for line in (
        "labelmap.txt: no names of classes are taken from it: it has no name for 0, 1, 2\n",
        "the names of classes are those of train/_classes.csv, by value: 0 is background, 1 is traffic light, ",
        "train/_classes.csv: dog in no mask: not proposed, since the stage validate stops at a class that no mask",
    ):
        assert line in told
    assert "classes.txt" not in told
    assert "warning" not in told


def test_splits_that_name_classes_differently_name_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"train/_classes.csv": PIXEL_VALUES, "valid/_classes.csv": PIXEL_VALUES.replace("cat", "dog")}
    section = inspect(named_folder(tmp_path, INDICES, files))
    assert "classes:  # give them their names\n" in section
    assert loaded(section, tmp_path) == (("background", "class_1", "class_2"), [])
    told = "warning: train/_classes.csv, valid/_classes.csv differ, and no names of classes are taken from them"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "names", "words"),
    [
        ("0, sky\n2, cat", ("sky", "class_1", "cat"), "no name for 1: name what is left yourself"),
        ("1, cat\n2, background", ("class_0", "cat", "background"), "no name for 0"),
        ("0, sky\n1, class_2", ("sky", "class_2", "class_2_"), "no name for 2"),
        ("1, cat\n2, dog", ("background", "cat", "dog"), "no name for 0"),
        ("0, cat\n1, sky\n2, cat", ("cat", "sky", "class_2"), "cat is the name of two classes: give 2 another one"),
        ("0, sky\n1, cat\n1, dog\n2, sea", ("sky", "class_1", "sea"), "1 is called cat, dog: choose a name for it"),
        (
            "0, __ignore__\n1, cat\n2, __ignore__",
            ("background", "cat", "class_2"),
            "without 0, 2, called __ignore__, too few classes are left",
        ),
    ],
)
def test_what_a_file_leaves_open_is_told_and_the_section_loads(
    rows: str, names: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = inspect(named_folder(tmp_path, INDICES, {"_classes.csv": f"Pixel Value, Class\n{rows}\n"}))
    assert "    classes:  # names from _classes.csv; give the others theirs\n" in section
    assert f"warning: _classes.csv: {words}" in capsys.readouterr().err
    assert loaded(section, tmp_path) == (names, [])


@pytest.mark.parametrize(
    ("mask", "file", "text", "place"),
    [
        (COLORS[INDICES], "class_dict.csv", "name,r,g,b\nVoid,0,0,0\ncar,220,20,60\ncat,30,144,255\n", "[0, 0, 0]"),
        (INDICES, "_classes.csv", "Pixel Value, Class\n0, unlabeled\n1, car\n2, cat\n", "0"),
        (COLORS[INDICES], "class_dict.csv", "name,r,g,b\nunknown,0,0,0\ncar,220,20,60\ncat,30,144,255\n", "[0, 0, 0]"),
    ],
)
def test_what_is_named_like_no_class_is_asked_about(
    mask: Any, file: str, text: str, place: str, tmp_path: Path
) -> None:
    section = inspect(named_folder(tmp_path, mask, {file: text}))
    assert section.count("if that is no class") == 1
    assert f"in 4 of 4 masks; if that is no class, move {place} to ignore\n" in section
    assert len(loaded(section, tmp_path)[0]) == 3


def test_names_that_yaml_would_read_otherwise_are_quoted_and_plain_ones_are_not(tmp_path: Path) -> None:
    strange = [
        "no",
        "a: b",
        "1",
        "#x",
        "null",
        "[a",
        "x #y",
        '"q"',
        "it's",
        "1e3",
        "é, ü",
        "- a",
        "猫",
        "~",
        "a$b",
        "e-3",
    ]
    mask = np.arange(80, dtype=np.uint8).reshape(8, 10) % len(strange)
    root = named_folder(tmp_path, mask, {"classes.txt": "\n".join(strange)})
    text = inspect(root)
    assert [c["name"] for c in proposed(text)["folder"]["classes"]] == strange
    for line in ("{name: e-3, ", "{name: 猫, ", '{name: "no", ', '{name: "é, ü", '):
        assert line in text
    assert loaded(text, tmp_path)[0] == tuple(strange)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("labelmap.txt", b"cat\n", "line 1 is not label:red,green,blue:parts:actions"),
        ("labelmap.txt", b"cat:0,0,256::\n", "line 1: '256' is no whole number of 0 to 255"),
        (
            "_classes.csv",
            b"filename, cat, dog\nx1.png, 1, 0\n",
            "its first line does not name the columns pixel value, cl",
        ),
        ("_classes.csv", b"Pixel Value, Class\n0, cat, dog\n", "line 2 has 3 cells, the first line 2"),
        ("_classes.csv", b"Pixel Value, Class\n0, \n", "line 2 holds no name"),
        ("_classes.csv", b"Pixel Value, Class\n0, a\0b\n", "line 2: control characters in the name 'a\\x00b'"),
        ("_classes.csv", b'Pixel Value, Class\n0, "cat\n', "no CSV file (unexpected end of data)"),
        ("_classes.csv", b"", "its first line does not name the columns"),
        ("class_dict.csv", b"name,r,g,b\ncat,1.0,0,0\n", "line 2: '1.0' is no whole number of 0 to 255"),
        ("classes.txt", b"???\ncat\ndog\n", "line 1: ??? cannot be a name in params.yaml"),
        ("classes.txt", b"sky\n${cat}\ndog\n", "line 2: ${cat} cannot be a name in params.yaml"),
        ("classes.txt", "\ufeffcat\n".encode("utf-16"), "it is not text in UTF-8; save it as such"),
        ("classes.txt", b"\n\n", "it holds none"),
        ("labels.txt", b"1 sky\n2 cat\n\n3 dog\n", "each line begins with a number, and names go by the number of the"),
        ("labels.txt", b"0: sky\n1: cat\n2: dog\n", "each line begins with a number"),
        ("labels.txt", b"x\n" * 257, "it has more than 256 lines"),
        ("labels.txt", b"x" * (2**20 + 1), "it is larger than 1 MB"),
    ],
)
def test_a_file_of_names_that_cannot_be_used_is_told_and_left_out(
    file: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder(tmp_path, INDICES, {})
    (root / file).write_bytes(content)
    assert "classes:  # give them their names\n" in inspect(root)
    assert f"warning: {file}: no names of classes are taken from it: {words}" in capsys.readouterr().err


def test_a_file_of_names_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    root = named_folder(tmp_path, INDICES, {"classes.txt": "a\nb\nc", "train/_classes.csv": PIXEL_VALUES})
    (root / "classes.txt").chmod(0)
    (root / "train").chmod(0)
    done = run(str(root), restricted=True)
    (root / "train").chmod(0o700)
    assert done.returncode == 0
    assert "classes:  # give them their names\n" in done.stdout
    assert "classes.txt: no names of classes are taken from it: it cannot be read (Permission denied)" in done.stderr


def test_roboflow_folders_of_splits_are_ready_for_use(tmp_path: Path) -> None:
    root = tmp_path / "f"
    for part, split in enumerate(("train", "valid", "test")):
        for index in range(3):
            write_png(root / split / f"x{part}{index}.png", PHOTO + 10 * part + index)
            write_png(root / split / f"x{part}{index}_mask.png", INDICES)
        (root / split / "_classes.csv").write_text(PIXEL_VALUES, encoding="utf-8")
    (root / "README.roboflow.txt").write_text("cats")
    section = inspect(root)
    assert proposed(section)["folder"]["val"] is None
    assert "    classes:  # names from test/_classes.csv\n" in section
    assert loaded(section, tmp_path) == (NAMES, [])


@pytest.mark.parametrize(
    ("mask", "file", "text", "words"),
    [
        (INDICES, "classes.txt", "cat\ndog\n", "it has no line for 2"),
        (INDICES, "labels.txt", "cat\n\ndog\n", "it has no line for 1"),
        (INDICES, "labels.txt", "__ignore__\ncat\ndog\n", "it has no line for 2"),
        (INDICES, "class_dict.csv", "name,r,g,b\nvoid,0,0,0\ncar,220,20,60\n", "it has no name for 1, 2"),
        (grey_palette_mask, "class_dict.csv", "name,r,g,b\nvoid,0,0,0\ncar,220,20,60\n", "it has no name for 1, 2"),
        (INDICES, "_classes.csv", "Pixel Value, Class\n7, cat", "it names nothing that masks show"),
        (COLORS[INDICES], "_classes.csv", PIXEL_VALUES, "it goes by value, the masks by colour"),
        (COLORS[INDICES], "classes.txt", "a\nb\nc\n", "it goes by line number, the masks by colour"),
        (COLORS[INDICES], "labelmap.txt", "cat:1,1,1::", "it names nothing that masks show"),
    ],
)
def test_a_file_of_names_that_does_not_fit_the_masks_is_left_out(
    mask: Any, file: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder(tmp_path, mask, {file: text})
    assert "classes:  # give them their names\n" in inspect(root)
    assert f"{file}: no names of classes are taken from it: {words}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "names", "ignore"),
    [
        ("0, sky\n91, sea\n255, road", ("sky", "sea", "road"), []),
        ("0, sky\n91, sea\n255, Void", ("sky", "sea"), [255]),
        ("0, sky\n91, sea", ("sky", "sea"), [255]),
    ],
)
def test_255_is_a_class_where_a_file_names_it(
    rows: str, names: tuple[str, ...], ignore: list[int], tmp_path: Path
) -> None:
    mask = np.array([0, 91, 255], np.uint8)[INDICES]
    root = named_folder(tmp_path, mask, {"_classes.csv": f"Pixel Value, Class\n{rows}\n"})
    text = inspect(root)
    assert ("a class since _classes.csv names it, else move 255 to ignore" in text) == (not ignore)
    assert "    classes:  # names from _classes.csv\n" in text
    assert loaded(text, tmp_path) == (names, ignore)


def test_values_that_palettes_draw_as_several_classes_are_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder(tmp_path, palette_mask, {"labelmap.txt": LABELMAP})
    palette_mask(root / "masks/x2.png", COLORS[[0, 2, 1]])
    assert [c["name"] for c in proposed(inspect(root))["folder"]["classes"]] == ["background", "class_1", "class_2"]
    assert "warning: labelmap.txt: 1 is called traffic light, cat: choose a name for it" in capsys.readouterr().err


def test_a_colour_that_fills_up_a_palette_names_nothing(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        picture = PIL.Image.fromarray(np.array([1, 2, 7], np.uint8)[INDICES])
        picture.putpalette([*COLORS.ravel().tolist(), *[0] * (3 * 13)])
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)

    root = named_folder(tmp_path, write, {"labelmap.txt": LABELMAP})
    assert [c["name"] for c in proposed(inspect(root))["folder"]["classes"]] == ["traffic light", "cat", "class_7"]
