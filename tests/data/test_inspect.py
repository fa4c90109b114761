"""`python -m ucc.data.inspect`: its section fits the folder, and loads."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import yaml
from inspected import COLORS, INDICES, PHOTO, folder, palette_mask, proposed, run
from tiny import REPOSITORY

from ucc.data.images import read_mask, write_png
from ucc.data.inspect.__main__ import inspect
from ucc.data.sources import prepare_dataset
from ucc.errors import UserError
from ucc.params import load_params

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
