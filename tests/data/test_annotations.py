"""Masks drawn from polygons: which image each is of, which value each class has, and that nothing of value is lost."""

import json
import shlex
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from annotated import (
    HEIGHT,
    WIDTH,
    coco,
    command,
    corners,
    expected,
    read,
    square,
    write_coco,
    write_labelme,
    write_photo,
    write_yolo,
)
from inspected import proposed, run
from PIL import ImageOps

from ucc.data.annotations.__main__ import main
from ucc.data.images import write_png
from ucc.data.inspect.__main__ import inspect
from ucc.errors import UserError

CAT = {"segmentation": [square(1, 1, 8)]}
DOG = {"segmentation": [square(3, 3, 2)], "category_id": 3}


@pytest.mark.parametrize("order", [1, -1])
def test_where_shapes_overlap_the_smaller_lies_on_top(tmp_path: Path, order: int) -> None:
    main(write_coco(tmp_path, coco(*[CAT, DOG][::order])))
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2), (3, 3, 2, 1)))


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_of_one_size_the_later_lies_on_top(tmp_path: Path, order: int) -> None:
    shapes = [({"segmentation": [square(1, 1, 4)]}, 2), ({"segmentation": [square(3, 3, 4)], "category_id": 3}, 1)]
    main(write_coco(tmp_path, coco(*(shape for shape, _ in shapes[::order]))))
    assert read(tmp_path / "masks/x0.png")[4, 4] == shapes[::order][-1][1]


def test_pixels_in_no_shape_are_background_or_ignored(tmp_path: Path) -> None:
    main([*write_coco(tmp_path, coco(CAT)), "--ignore-elsewhere"])
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2), elsewhere=255))
    assert (tmp_path / "masks/_classes.csv").read_text() == "Pixel Value,Class\n1,dog\n2,cat\n"


def test_an_image_without_shapes_is_background_only_if_somebody_says_so(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    main(arguments)
    assert not (tmp_path / "masks/x1.png").exists()
    main([*arguments, "--empty-as-background"])
    np.testing.assert_array_equal(read(tmp_path / "masks/x1.png"), expected())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [True, False])
def test_masks_are_upright_as_images_are_in_use(tmp_path: Path, orientation: int, upright: bool) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/x0.jpg", exif=exif)
    height, width = (WIDTH, HEIGHT) if upright and orientation >= 5 else (HEIGHT, WIDTH)
    content = coco(CAT)
    content["images"][0].update(file_name="x0.jpg", height=height, width=width)
    main(write_coco(tmp_path, content))
    drawn = np.zeros((height, width), np.uint8)
    drawn[1:9, 1:9] = 2
    picture = PIL.Image.fromarray(drawn)
    if not upright and orientation >= 5:  # of the others the size does not tell
        picture.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), np.array(ImageOps.exif_transpose(picture)))


@pytest.mark.parametrize(
    ("stored", "there"),
    [
        ("elsewhere/x.png", "x.png"),
        ("C:\\photos\\x.png", "x.png"),
        ("../../x.png", "deep/x.png"),
        ("my%20photo.png", "my photo.png"),
        ("a%20b.png", "a%20b.png"),
        ("X.PNG", "x.png"),
        ("x", "x.png"),
        ("x.png", "x.PNG"),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
    ],
)
def test_an_image_is_found_however_the_tool_wrote_its_name(tmp_path: Path, stored: str, there: str) -> None:
    content = coco(CAT, images=1)
    content["images"][0]["file_name"] = stored
    arguments = write_coco(tmp_path / "a", content, images=0)
    write_photo(tmp_path / "a/images" / there)
    main(arguments)
    assert (tmp_path / "a/masks" / there).with_suffix(".png").is_file()


def test_shapes_are_never_drawn_on_another_image_of_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = coco(CAT, {"image_id": 11, **DOG}, images=3)
    for image, name in zip(content["images"], ("train/1.png", "train/2.png", "val/1.png"), strict=True):
        image["file_name"] = name
    arguments = write_coco(tmp_path, content, images=0)
    write_photo(tmp_path / "images/val/1.png")
    write_photo(tmp_path / "images/val/2.png")
    main(arguments)
    assert [path.name for path in (tmp_path / "masks/val").iterdir()] == ["2.png"]
    told = capsys.readouterr().err
    assert "1 images found by their names alone: train/2.png is val/2.png" in told
    assert f"1 images not in {tmp_path / 'images'} and left out: train/1.png" in told


@pytest.mark.parametrize("name", ["train/1.png", "1.png"])
def test_a_name_that_may_be_several_images_is_refused(tmp_path: Path, name: str) -> None:
    content = coco(CAT, images=1)
    content["images"][0]["file_name"] = name
    arguments = write_coco(tmp_path, content, images=0)
    for folder in "ab":
        write_photo(tmp_path / f"images/{folder}/1.png")
    with pytest.raises(UserError, match=r"1\.png may be .*a/1\.png, .*b/1\.png: rename, or leave one"):
        main(arguments)
    content["images"].append({**content["images"][0], "id": 11, "file_name": "other/1.png"})
    arguments = write_coco(tmp_path, content, images=0)
    (tmp_path / "images/b/1.png").unlink()
    if name == "1.png":
        with pytest.raises(UserError, match=r"1\.png and other/1\.png: both would be .*a/1\.png"):
            main(arguments)


def test_what_several_files_say_of_one_image_is_drawn_together(tmp_path: Path) -> None:
    first, images, masks = write_coco(tmp_path, coco(CAT))
    (tmp_path / "coco.json").rename(tmp_path / "cats.json")
    second, *_ = write_coco(tmp_path, coco(DOG))
    main([str(tmp_path / "cats.json"), second, images, masks])
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2), (3, 3, 2, 1)))
    content = coco(DOG)
    content["images"][0]["height"] = HEIGHT + 1
    write_coco(tmp_path, content)
    with pytest.raises(UserError, match="one image, in two sizes"):
        main([str(tmp_path / "cats.json"), first, images, masks])


def test_what_several_files_call_differently_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, images, masks = write_coco(tmp_path, coco(CAT))
    content = coco(DOG, images=1)
    content["images"][0]["file_name"] = "data/x0.png"
    (tmp_path / "dogs.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"data/x0\.png of .*dogs\.json may be .*x0\.png, which others call x0\.png"):
        main([first, str(tmp_path / "dogs.json"), images, masks])
    (tmp_path / "cats.json").write_text(json.dumps(content | {"annotations": coco(CAT)["annotations"]}))
    main([str(tmp_path / "cats.json"), str(tmp_path / "dogs.json"), images, masks])
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2), (3, 3, 2, 1)))
    assert "1 images annotated several times, and drawn together: x0.png" in capsys.readouterr().err


def test_an_image_that_lies_beside_its_annotations_is_not_another_of_its_name(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_coco(tmp_path / split, coco(CAT if split == "train" else DOG, images=1), images=0)
        write_photo(tmp_path / split / "x0.png")
    files = [str(tmp_path / split / "coco.json") for split in ("train", "valid")]
    main([*files, str(tmp_path / "train"), str(tmp_path / "masks")])
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 2)))
    with pytest.raises(UserError, match=r"1 images beside their annotations and not in .*train, so left out: x0\.png"):
        main([files[1], str(tmp_path / "train"), str(tmp_path / "masks")])


def test_classes_of_several_files_are_numbered_together_and_each_means_its_own_images(tmp_path: Path) -> None:
    for split, category in (("train", "cat"), ("valid", "dog")):
        content = coco({**CAT, "category_id": 1}, images=1)
        content["categories"] = [{"id": 1, "name": category}]
        write_coco(tmp_path / split, content)
        (tmp_path / split / "images/x0.png").rename(tmp_path / split / "x0.png")
    files = [str(tmp_path / split / "coco.json") for split in ("train", "valid")]
    main([*files, str(tmp_path), str(tmp_path / "masks")])
    assert [int(read(tmp_path / f"masks/{split}/x0.png").max()) for split in ("train", "valid")] == [1, 2]
    main([*files, str(tmp_path), str(tmp_path)])
    assert int(read(tmp_path / "valid/x0_mask.png").max()) == 2


def test_masks_among_the_images_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = write_labelme(tmp_path, "x", {"label": "dog", "points": corners(0, 0, 4)}, imagePath="y.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        main([*arguments[:2], "masks"])
        main([*arguments[:2], "."])
        write_labelme(tmp_path, "x", {"label": "dog", "points": corners(0, 0, 4)})
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert found == ["masks/x.png", "x.png", "x_mask.png"]


def test_masks_among_the_images_are_not_meant_by_name_either(tmp_path: Path) -> None:
    content = coco(CAT, images=1)
    content["images"][0]["file_name"] = "elsewhere/x.png"
    annotations, images, _ = write_coco(tmp_path, content, images=0)
    write_photo(tmp_path / "images/deep/x.png")
    for _ in range(2):
        main([annotations, images, f"{images}/../images/masks"])
    assert (tmp_path / "images/masks/deep/x.png").is_file()


def test_classes_keep_their_values_when_others_come(tmp_path: Path) -> None:
    arguments = write_labelme(tmp_path, "x", {"label": "dog", "points": corners(0, 0, 4)})
    main(arguments)
    write_labelme(tmp_path, "y", {"label": "ape", "points": corners(0, 0, 4)})
    main(arguments)
    assert [int(read(tmp_path / f"masks/{name}.png").max()) for name in "xy"] == [1, 2]
    assert (tmp_path / "masks/_classes.csv").read_text() == "Pixel Value,Class\n0,background\n1,dog\n2,ape\n"


@pytest.mark.parametrize("spelling", [" dog", "dog ", unicodedata.normalize("NFD", "dög")])
def test_spellings_that_look_alike_are_one_class(tmp_path: Path, spelling: str) -> None:
    plain = unicodedata.normalize("NFC", spelling.strip())
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/_classes.csv").write_text(f"Pixel Value, Class\n1, {unicodedata.normalize('NFD', plain)}\n")
    shapes = [{"label": name, "points": corners(5 * i, 0, 4)} for i, name in enumerate((plain, spelling))]
    for _ in range(2):
        main(write_labelme(tmp_path, "x", *shapes))
        assert (tmp_path / "masks/_classes.csv").read_text() == f"Pixel Value,Class\n0,background\n1,{plain}\n"


def test_what_a_list_of_classes_said_before_stays(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    (tmp_path / "masks").mkdir()
    listed = tmp_path / "masks/_classes.csv"
    listed.write_text("Pixel Value, Class\n0, sky\n1, cat\n255, void\n")
    with pytest.raises(UserError, match=r"_classes\.csv: 0 is sky, and not the background; draw into another folder"):
        main(arguments)
    main([*arguments, "--ignore-elsewhere"])
    assert listed.read_text() == "Pixel Value,Class\n0,sky\n1,cat\n2,dog\n255,void\n"
    np.testing.assert_array_equal(read(tmp_path / "masks/x0.png"), expected((1, 1, 8, 1), elsewhere=255))


def test_a_class_that_a_list_has_at_255_is_refused(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/_Classes.csv").write_text("Pixel Value, Class\n255, cat\n")
    with pytest.raises(UserError, match=r"_Classes\.csv: cat is 255, which is no class; draw into another folder"):
        main(arguments)


def test_masks_whose_list_of_classes_is_lost_are_not_added_to(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    main(arguments)
    (tmp_path / "masks/_classes.csv").unlink()
    main(arguments)  # these are drawn anew
    (tmp_path / "masks/_classes.csv").unlink()
    write_coco(tmp_path, coco({**CAT, "image_id": 11}))
    with pytest.raises(UserError, match=r"holds masks, and no _classes\.csv that names their classes: x0\.png\. Draw"):
        main(arguments)


def test_a_mask_that_the_annotations_no_longer_give_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write_coco(tmp_path, coco(CAT, {**CAT, "image_id": 11}))
    main(arguments)
    write_coco(tmp_path, coco(CAT))
    main(arguments)
    assert "1 images unlabelled now, with a mask of before, which is still there: x1.png" in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["1, cat\n2, cat", "1, cat\n1, dog", "300, cat", "one, cat", "1, ???"])
def test_a_list_of_classes_that_is_none_is_refused(tmp_path: Path, rows: str) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/_classes.csv").write_text(f"Pixel Value, Class\n{rows}\n")
    with pytest.raises(UserError, match=r"_classes\.csv: no list of the classes of masks: .*Mend it, or use another"):
        main(arguments)
    assert not (tmp_path / "masks/x0.png").exists()


def test_a_mask_has_values_for_254_classes(tmp_path: Path) -> None:
    shapes = [{"label": f"class {n}", "points": corners(0, 0, 4)} for n in range(255)]
    with pytest.raises(UserError, match="255 classes: masks have values for 254 beside the background"):
        main(write_labelme(tmp_path, "x", *shapes))
    main(write_labelme(tmp_path, "x", *shapes[:254]))


def test_a_mask_that_differs_is_drawn_over_only_if_that_is_asked_for(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    main(arguments)
    drawn = (tmp_path / "masks/x0.png").read_bytes()
    PIL.Image.open(tmp_path / "masks/x0.png").save(tmp_path / "masks/x0.png", compress_level=0)
    main(arguments)  # it holds the same pixels
    write_png(tmp_path / "masks/x0.png", np.ones((HEIGHT, WIDTH), np.uint8))
    before = {path: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    write_coco(tmp_path, coco(CAT, {**DOG, "image_id": 11}))
    with pytest.raises(UserError, match=r"differ from what the shapes give, and --replace draws over them: .*x0\.png"):
        main(arguments)
    assert {path: path.read_bytes() for path in (tmp_path / "masks").iterdir()} == before
    main([*arguments, "--replace"])
    assert (tmp_path / "masks/x0.png").read_bytes() == drawn


def test_no_photograph_is_drawn_over(tmp_path: Path) -> None:
    content = coco(CAT)
    for image, name in zip(content["images"], ("a.png", "a_mask.png"), strict=True):
        image["file_name"] = name
    arguments = write_coco(tmp_path, content, images=0)
    write_photo(tmp_path / "images/a.png")
    write_png(tmp_path / "images/a_mask.png", np.zeros((HEIGHT, WIDTH), np.uint8))  # grey, as masks may be
    before = (tmp_path / "images/a_mask.png").read_bytes()
    for further in ([], ["--replace"]):
        with pytest.raises(UserError, match=r"a_mask\.png: not drawn here, and in the way of a mask"):
            main([arguments[0], arguments[1], arguments[1], *further])
    write_photo(tmp_path / "masks/a.png")
    with pytest.raises(UserError, match=r"masks/a\.png: not drawn here, and in the way of a mask"):
        main([*arguments, "--replace"])
    assert (tmp_path / "images/a_mask.png").read_bytes() == before


def test_images_that_would_have_one_mask_are_refused(tmp_path: Path) -> None:
    content = coco(CAT, {**DOG, "image_id": 11})
    content["images"][1]["file_name"] = "x0.jpg"
    arguments = write_coco(tmp_path, content)
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/x0.jpg")
    with pytest.raises(UserError, match=r"x0\.png and .*x0\.jpg would have one mask, .*x0\.png; rename one"):
        main(arguments)


def test_a_broken_image_is_named_and_not_its_annotations(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    (tmp_path / "images/x0.png").write_text("no picture")
    with pytest.raises(UserError, match=r"\n- [^\n]*images/x0\.png: not a JPEG, PNG"):
        main(arguments)


def test_errors_of_the_command_have_no_traceback(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, "{")
    for found, message in (
        (command(*arguments), "coco.json: no JSON ("),
        (command(str(tmp_path / "absent.json"), *arguments[1:]), "absent.json: cannot be read (No such file"),
        (command(str(tmp_path / "images"), *arguments[1:]), "images: no JSON of labelme in it or below"),
        (command(arguments[0], str(tmp_path / "absent"), arguments[2]), "absent: no such folder of images"),
        (command(*arguments[:2], arguments[0]), "coco.json: no folder; the last argument is the folder for the masks"),
    ):
        assert found.returncode == 1
        assert found.stderr.startswith("error: ")
        assert message in found.stderr
        assert len(found.stderr.splitlines()) == 1


def test_a_folder_for_masks_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco(CAT))
    (tmp_path / "masks").write_text("a file")
    found = command(*arguments)
    (tmp_path / "masks").unlink()
    (tmp_path / "masks").mkdir(mode=0)
    refused = command(*arguments, restricted=True)
    (tmp_path / "masks").chmod(0o700)
    for one in (found, refused):
        assert one.returncode == 1
        assert f"error: {tmp_path / 'masks'}" in one.stderr
        assert "Traceback" not in one.stderr


def of_coco(root: Path) -> Path:
    annotations = [{"image_id": 10 + i, **CAT} for i in range(4)]
    write_coco(root, coco(*annotations, images=6), images=6)
    return root


def of_labelme(root: Path) -> Path:
    for index in range(6):
        write_labelme(root, f"x{index}", *[{"label": "cat", "points": corners(0, 0, 4)}] * (index < 4))
    return root


def of_yolo(root: Path) -> Path:
    write_yolo(root, "")
    for index in range(6):
        write_photo(root / f"train/images/x{index}.png")
        (root / f"train/labels/x{index}.txt").write_text("1 0 0 1 0 1 0.5\n" if index < 4 else "")
    return root


def by_split(root: Path) -> Path:
    """As Roboflow exports COCO's format; the classes of the splits differ."""
    for split in ("train", "valid"):
        write_labelme(root / split, "unused")
        (root / split / "unused.json").unlink()
        of_coco(root / split)
        for path in (root / split / "images").iterdir():
            path.rename(root / split / path.name)
        (root / split / "images").rmdir()
    return root


def labelme_by_split(root: Path) -> Path:
    for split, labels in (("train", ("ape", "cat")), ("valid", ("cat",))):
        for index in range(4):
            shapes = [{"label": label, "points": corners(5 * n, 0, 4)} for n, label in enumerate(labels)]
            write_labelme(root / split, f"{split}{index}", *shapes)
    return root


def as_published(root: Path) -> Path:
    """As COCO itself is published."""
    of_coco(root)
    (root / "images").rename(root / "train2017")
    (root / "annotations").mkdir()
    (root / "coco.json").rename(root / "annotations/instances_train2017.json")
    (root / "annotations/captions_train2017.json").write_text('{"images": [], "annotations": [], "categories": []}')
    return root


@pytest.mark.parametrize("make", [of_coco, of_labelme, of_yolo, by_split, labelme_by_split, as_published])
def test_inspect_names_the_command_and_then_finds_the_masks(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    root = make(tmp_path / "my photos")
    told = run(str(root)).stderr
    assert "\nThere are polygons in " in told
    (line,) = (line for line in told.splitlines() if line.startswith("    python -m ucc.data.annotations "))
    assert command(*shlex.split(line)[3:]).returncode == 0
    section: dict[str, Any] = proposed(inspect(root))["folder"]
    names = ["background", "ape", "cat"] if make is labelme_by_split else ["background", "cat"]
    assert [entry["name"] for entry in section["classes"]] == names
    assert section["val"] == (None if make in (by_split, labelme_by_split) else 0.2)


def test_inspect_uses_the_folder_of_images_that_it_is_told(tmp_path: Path) -> None:
    root = of_coco(tmp_path)
    (root / "images").rename(root / "pics")
    write_photo(root / "aother/y.png")
    told = run(str(root), "--images", "pics").stderr
    (line,) = (line for line in told.splitlines() if line.startswith("    python -m ucc.data.annotations "))
    assert command(*shlex.split(line)[3:]).returncode == 0
    assert proposed(inspect(root, "pics"))["folder"]["images"] == "pics"


def test_files_without_polygons_are_no_hint(tmp_path: Path) -> None:
    write_coco(tmp_path, coco({"segmentation": []}))
    (tmp_path / "other.json").write_text('{"shapes": 1}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "labels.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("names: [a]")
    with pytest.raises(UserError) as raised:
        inspect(tmp_path)
    assert "There are polygons" not in str(raised.value)
