"""A picture for each class or object becomes part of a mask; what is none, or may be of several images, is named."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from annotated import HEIGHT, WIDTH, coco, command, expected, read, write_coco, write_photo
from binary_pictures import TWO_CLASSES, disc, inside, put, stored_lossily
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ucc.data.annotations.__main__ import main
from ucc.data.annotations.binary_masks import BinaryMask, read_binary_mask
from ucc.data.annotations.pattern import Pattern, Split
from ucc.errors import UserError

NOWHERE = np.zeros((HEIGHT, WIDTH), np.uint8)


def draw(root: Path, *patterns: str, images: str = "images") -> None:
    """Patterns are of paths below the root."""
    placed = (f"{label}{equals}{root / path}" for label, equals, path in (text.rpartition("=") for text in patterns))
    main([*placed, str(root / images), str(root / "drawn")])


@pytest.mark.parametrize(
    ("pattern", "cat", "dog"),
    [
        ("masks/{class}/{image}.png", "masks/cat/x.png", "masks/dog/x.png"),
        ("masks/{image}/{class}.png", "masks/x/cat.png", "masks/x/dog.png"),
        ("masks/{image}_{class}.png", "masks/x_cat.png", "masks/x_dog.png"),
        ("{class} of *.d/{image}_*.png", "cat of me.d/x_1.png", "dog of you.d/x_.png"),
        ("{image}_{class}_mask.png", "images/x_cat_mask.png", "images/x_dog_mask.png"),
    ],
)
def test_a_pattern_says_which_image_and_class_a_picture_is_of(tmp_path: Path, pattern: str, cat: str, dog: str) -> None:
    write_photo(tmp_path / "images/x.jpg")
    write_photo(tmp_path / "images/y.jpg")
    put(tmp_path / cat, inside(1, 1, 8))
    put(tmp_path / dog, inside(3, 3, 2))
    draw(tmp_path, pattern)
    np.testing.assert_array_equal(read(tmp_path / "drawn/x.png"), TWO_CLASSES)
    assert not (tmp_path / "drawn/y.png").exists()
    assert (tmp_path / "drawn/_classes.csv").read_text() == "Pixel Value,Class\n0,background\n1,cat\n2,dog\n"


def test_objects_of_a_class_that_is_given_are_drawn_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "train/a/images/a.png")
    for number, left in enumerate((0, 8)):
        put(tmp_path / f"train/a/masks/{number}.png", inside(left, 1, 4))
    draw(tmp_path, "cell=train/{image}/masks/*.png", images="train")
    np.testing.assert_array_equal(read(tmp_path / "drawn/a/images/a.png"), expected((0, 1, 4, 1), (8, 1, 4, 1)))
    assert "2 binary masks lie below" in capsys.readouterr().err
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 1


def test_several_patterns_number_their_classes_in_their_order(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/x_EX.png", inside(1, 1, 8))
    put(tmp_path / "masks/x_HE.png", inside(3, 3, 2))
    draw(tmp_path, "haemorrhage=masks/{image}_HE.png", "exudate=masks/{image}_EX.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/x.png"), expected((1, 1, 8, 2), (3, 3, 2, 1)))


def test_a_black_mask_says_that_the_class_is_not_there(tmp_path: Path) -> None:
    for name in "xy":
        write_photo(tmp_path / f"images/{name}.jpg")
    put(tmp_path / "masks/x.png", NOWHERE)
    draw(tmp_path, "cat=masks/{image}.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/x.png"), NOWHERE)
    assert not (tmp_path / "drawn/y.png").exists()


def test_the_images_that_are_there_tell_where_a_name_ends(tmp_path: Path) -> None:
    for name in ("street", "street_01", "night/street_01"):
        write_photo(tmp_path / f"images/{name}.jpg")
    put(tmp_path / "masks/street_traffic_light.png", inside(0, 0, 2))
    put(tmp_path / "masks/night/street_01_traffic_light.png", inside(4, 4, 2))
    draw(tmp_path, "masks/{image}_{class}.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/street.png"), expected((0, 0, 2, 1)))
    np.testing.assert_array_equal(read(tmp_path / "drawn/night/street_01.png"), expected((4, 4, 2, 1)))
    assert not (tmp_path / "drawn/street_01.png").exists()
    put(tmp_path / "masks/street_01_car.png", inside(0, 0, 2))
    with pytest.raises(
        UserError, match=r"street_01_car\.png: may be 01_car of street, car of street_01; give a pattern"
    ):
        draw(tmp_path, "masks/{image}_{class}.png")
    draw(tmp_path, "car=masks/{image}_car.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/street_01.png"), expected((0, 0, 2, 2)))


def test_binary_masks_below_the_images_folder_are_not_meant_by_name(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos/x.png")
    put(tmp_path / "masks/cat/x.png", inside(1, 1, 8))
    draw(tmp_path, "masks/{class}/{image}.png", images=".")
    np.testing.assert_array_equal(read(tmp_path / "drawn/photos/x.png"), expected((1, 1, 8, 1)))


def test_accents_are_the_same_however_they_are_composed(tmp_path: Path) -> None:
    write_photo(tmp_path / "images" / unicodedata.normalize("NFC", "é.png"))
    put(tmp_path / "masks" / unicodedata.normalize("NFD", "é_é_.png"), inside(1, 1, 8))
    draw(tmp_path, f"cat=masks/{{image}}_{unicodedata.normalize('NFC', 'é')}_*.png")
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 1


def test_a_file_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    arguments = write_coco(tmp_path, coco({"segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]}))
    there = Path(arguments[0]).rename(tmp_path / "{class}*.json")
    main([str(there), *arguments[1:]])
    assert (tmp_path / "masks/x0.png").is_file()


def test_the_folder_of_binary_masks_is_not_drawn_into(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "drawn/x.tif", inside(0, 0, 2))
    with pytest.raises(UserError, match="drawn: holds binary masks; give another folder for the masks"):
        draw(tmp_path, "cat=drawn/{image}.tif")


def test_a_class_without_a_mask_is_taken_not_to_be_there_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "xy":
        write_photo(tmp_path / f"images/{name}.jpg")
        put(tmp_path / f"masks/cat/{name}.png", inside(1, 1, 8))
    put(tmp_path / "masks/dog/x.png", inside(3, 3, 2))
    draw(tmp_path, "masks/{class}/{image}.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/y.png"), expected((1, 1, 8, 1)))
    told = capsys.readouterr().err
    assert "dog: 1 of 2 images with masks have none of it, and are taken not to show it" in told
    assert told.count("have none of it") == 1


def test_an_image_that_is_named_like_a_mask_is_an_image(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x_1.png")
    put(tmp_path / "images/x_1_cat.png", inside(1, 1, 8))
    draw(tmp_path, "{image}_{class}.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/x_1.png"), expected((1, 1, 8, 1)))
    assert not (tmp_path / "drawn/x_1_cat.png").exists()


def test_masks_that_were_drawn_are_no_binary_masks(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    arguments = [f"cat={tmp_path}/*/{{image}}.png", str(tmp_path / "images"), str(tmp_path / "drawn"), "--replace"]
    put(tmp_path / "masks/x.png", inside(1, 1, 8))
    main(arguments)
    put(tmp_path / "masks/x.png", inside(3, 3, 2))
    main(arguments)
    np.testing.assert_array_equal(read(tmp_path / "drawn/x.png"), expected((3, 3, 2, 1)))


def test_masks_are_upright_as_photographs_are_in_use(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/x.jpg", exif=exif)
    put(tmp_path / "masks/x.png", inside(0, 0, 2))
    draw(tmp_path, "cat=masks/{image}.png")
    np.testing.assert_array_equal(read(tmp_path / "drawn/x.png"), np.rot90(expected((0, 0, 2, 1)), -1))


@pytest.mark.parametrize("value", [1, 7, 255])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".gif"])
def test_what_is_not_black_belongs_to_the_class(tmp_path: Path, value: int, suffix: str) -> None:
    put(tmp_path / f"m{suffix}", inside(2, 3, 4, value))
    np.testing.assert_array_equal(read_binary_mask(tmp_path / f"m{suffix}"), inside(2, 3, 4) > 0)


def as_rgb(color: tuple[int, int, int]) -> NDArray[np.uint8]:
    return (inside(2, 3, 4)[..., None] > 0) * np.array(color, np.uint8)


@pytest.mark.parametrize(
    "mask",
    [
        inside(2, 3, 4) > 0,
        inside(2, 3, 4, 9).astype(np.uint16) * 257,
        inside(2, 3, 4).astype(np.int32),
        as_rgb((0, 0, 1)),
        np.dstack([as_rgb((255, 255, 255)), np.full((HEIGHT, WIDTH), 255, np.uint8)]),
    ],
    ids=["1 bit", "16 bits", "32 bits", "blue", "opaque"],
)
def test_binary_masks_of_every_kind_are_read(tmp_path: Path, mask: NDArray[Any]) -> None:
    path = tmp_path / ("m.tif" if mask.dtype == np.int32 else "m.png")
    put(path, mask)
    np.testing.assert_array_equal(read_binary_mask(path), inside(2, 3, 4) > 0)


def test_a_palette_shows_what_is_black(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(1 - inside(2, 3, 4, 1), "P")
    picture.putpalette([200, 0, 0, 0, 0, 0])
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.png"), inside(2, 3, 4) > 0)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_of_lossy_masks_what_is_light_belongs_to_the_class(tmp_path: Path, suffix: str) -> None:
    mask = np.kron(inside(2, 3, 4), np.ones((9, 9), np.uint8))
    PIL.Image.fromarray(mask).save(tmp_path / f"m{suffix}", quality=30)
    stored = np.array(PIL.Image.open(tmp_path / f"m{suffix}").convert("L"))
    assert len(np.unique(stored)) > 2
    found = read_binary_mask(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(found, mask > 0)
    PIL.Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / f"n{suffix}")
    assert not read_binary_mask(tmp_path / f"n{suffix}").any()


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.9])
def test_smoothed_edges_are_cut_at_half(tmp_path: Path, scale: float) -> None:
    smoothed = disc(255, scale)
    put(tmp_path / "m.png", smoothed)
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.png"), smoothed >= 128)


def transparent(path: Path) -> None:
    PIL.Image.fromarray(np.dstack([inside(2, 3, 4)] * 4)).save(path)


def photograph(path: Path) -> None:
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)


def colored(*colors: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.array(colors, np.uint8)[TWO_CLASSES]


def with_palette(path: Path) -> None:
    """As in VOC: the largest channel of all three classes is 128."""
    picture = PIL.Image.fromarray(TWO_CLASSES.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(path)


def black_palette(path: Path) -> None:
    picture = PIL.Image.fromarray(TWO_CLASSES.astype(np.uint8), "P")
    picture.putpalette([0] * 9)
    picture.save(path)


def shades(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8)[TWO_CLASSES]


def resized(*values: int) -> NDArray[np.uint8]:
    """Shades with smoothed edges."""
    small = shades(*values).repeat(9, axis=0).repeat(9, axis=1)
    return np.asarray(cv2.resize(small, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_LINEAR), np.uint8)


def line(value: int, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask with a line, a pixel wide."""
    mask = mask.copy()
    mask[10, :] = value
    return mask


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path: put(path, TWO_CLASSES.astype(np.uint8)), id="classes"),
        pytest.param(lambda path: put(path, TWO_CLASSES.astype(np.uint16) * 450), id="16 bits"),
        pytest.param(lambda path: put(path, expected((0, 0, 2, 1), elsewhere=2).astype(np.uint8)), id="no black"),
        pytest.param(lambda path: put(path, shades(0, 127, 255)), id="grey"),
        pytest.param(lambda path: put(path, shades(0, 1, 255)), id="ignored"),
        pytest.param(lambda path: put(path, shades(255, 128, 0)), id="inverted"),
        pytest.param(lambda path: put(path, np.repeat(np.arange(0, 256, 16, np.uint8), 64).reshape(-1, 32)), id="many"),
        pytest.param(lambda path: put(path, colored((0, 0, 0), (255, 0, 0), (0, 0, 255))), id="coloured"),
        pytest.param(with_palette, id="palette"),
        pytest.param(lambda path: stored_lossily(path, shades(0, 127, 255)), id="JPEG"),
        pytest.param(lambda path: stored_lossily(path, shades(0, 100, 100)), id="dim JPEG"),
        pytest.param(lambda path: stored_lossily(path, colored((0, 0, 0), (250, 0, 0), (250, 0, 0))), id="red JPEG"),
        pytest.param(lambda path: put(path, line(127, inside(1, 1, 8))), id="a thin class"),
        pytest.param(lambda path: stored_lossily(path, line(150, NOWHERE), scale=4), id="thin and dim JPEG"),
        pytest.param(lambda path: put(path, disc(60, 1.9)), id="resized values"),
        pytest.param(lambda path: put(path, resized(0, 30, 255)), id="resized classes"),
        pytest.param(lambda path: stored_lossily(path, shades(0, 1, 2)), id="values in JPEG"),
        pytest.param(lambda path: stored_lossily(path, shades(0, 200, 255)), id="light JPEG"),
        pytest.param(lambda path: stored_lossily(path, shades(0, 60, 255)), id="dark JPEG"),
        pytest.param(lambda path: stored_lossily(path, colored((0,) * 3, (255,) * 3, (200, 220, 210))), id="pale JPEG"),
        pytest.param(black_palette, id="palette of one colour"),
        pytest.param(photograph, id="photograph"),
    ],
)
def test_what_shows_more_than_one_class_is_no_binary_mask(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"m\.png: shows more than black and one value .* save it so, as PNG"):
        read_binary_mask(tmp_path / "m.png")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (transparent, "is transparent in parts"),
        (photograph, "shows more than black and one value or colour"),
        (lambda path: path.write_bytes(b"\x89PNG"), "masks/m.png: "),
        (lambda path: put(path, inside(0, 0, 2)[1:]), "masks/m.png: drawn on 16x11 pixels, "),
    ],
)
def test_all_that_cannot_be_drawn_is_named_and_nothing_is_drawn(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    for name in "xmn":
        write_photo(tmp_path / f"images/{name}.jpg")
    put(tmp_path / "masks/x.png", inside(0, 0, 2))
    for name in "mn":
        write(tmp_path / f"masks/{name}.png")
    with pytest.raises(UserError) as raised:
        draw(tmp_path, "cat=masks/{image}.png")
    assert message in str(raised.value)
    assert str(raised.value).count(f"{tmp_path / 'masks/m.png'}") == 1
    assert str(raised.value).count(f"{tmp_path / 'masks/n.png'}") == 1
    assert not (tmp_path / "drawn").exists()


def test_a_file_of_several_pictures_is_refused(tmp_path: Path) -> None:
    pages = [PIL.Image.fromarray(inside(left, 1, 4)) for left in (0, 8)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match=r"m\.tif: holds 2 pictures; save each as a file of its own"):
        read_binary_mask(tmp_path / "m.tif")


def test_a_mask_is_drawn_in_its_own_size_alone(tmp_path: Path) -> None:
    put(tmp_path / "m.png", inside(0, 0, 2))
    with pytest.raises(UserError, match="a mask of 16x12 pixels, where 20x12 belong"):
        BinaryMask(tmp_path / "m.png").runs((HEIGHT, 20))


def test_masks_of_an_image_in_two_sizes_are_named(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/cat/x.png", inside(0, 0, 2))
    put(tmp_path / "masks/dog/x.png", inside(0, 0, 2)[1:])
    with pytest.raises(UserError, match=r"cat/x\.png and .*dog/x\.png: of one image, in two sizes"):
        draw(tmp_path, "masks/{class}/{image}.png")


def test_a_picture_of_two_classes_is_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/x.png", inside(0, 0, 2))
    with pytest.raises(UserError, match=r"x\.png: fits patterns of cat and of dog; narrow"):
        draw(tmp_path, "cat=masks/{image}.png", "dog=*/{image}.png")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("masks/{class}.png", "{image} must stand in it once"),
        ("cat=masks/{image}/{image}.png", "{image} must stand in it once"),
        ("masks/{class}/{class}/{image}.png", "{class} at most once"),
        ("cat=masks/**/{image}.png", "put text between {image}, {class} and stars"),
        ("masks/{image}{class}.png", "put text between {image}, {class} and stars"),
        ("cat=*/*/*/*/{image}.png", "stars at most 3 times"),
        ("masks/{Class}/x.png", "no pattern of binary masks, such as masks/{class}/{image}.png"),
        ("masks/*/x.png", "no pattern of binary masks"),
        ("cat=masks", "no pattern of binary masks"),
        ("images/x.jpg", "a picture; of binary masks give a pattern"),
        ("images", "of binary masks a pattern, such as 'masks/{class}/{image}.png'"),
        ("~nobody-such/{image}/{class}.png", "~nobody-such/{image}/{class}.png: there is no such home"),
        ("masks/{image}.png", "name the class, either before it (cat=masks/{image}.png) or in it by {class}"),
        ("cat=masks/{class}/{image}.png", "name the class, either before it"),
        ("cat=absent/{image}.png", "absent: no such folder"),
        ("cat=images/{image}_{image}.png", "{image} must stand in it once"),
        ("cat=images/{image}_mask.png", "_mask.png: fits no picture; in images there are x.jpg"),
        ("???=images/{image}.jpg", "cannot be a name in params.yaml"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "images/x.jpg")
    with pytest.raises(UserError) as raised:
        main([pattern, "images", "drawn"])
    assert message in str(raised.value)
    assert not Path("drawn").exists()


def test_masks_without_an_image_are_told(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/cat/y.png", inside(0, 0, 2))
    found = command(f"{tmp_path}/masks/{{class}}/{{image}}.png", str(tmp_path / "images"), str(tmp_path / "drawn"))
    assert found.returncode == 1
    assert f"1 images not in {tmp_path / 'images'} and left out: y" in found.stderr
    assert "Traceback" not in found.stderr


NAME = st.text("ab_-. 1", min_size=1, max_size=6)


@given(folder=NAME, name=NAME, label=NAME, other=NAME, order=st.permutations(["{image}", "{class}", "*"]))
def test_what_a_path_was_made_of_is_among_what_it_may_say(
    folder: str, name: str, label: str, other: str, order: list[str]
) -> None:
    text = f"/top/{order[0]}_{order[1]}x{order[2]}.png"
    image = f"{folder}/{name}"
    path = text.replace("{image}", image).replace("{class}", label).replace("*", other)
    if Path(path).as_posix() != path:
        return  # a name that is a dot
    splits = Pattern.parse(text).splits(Path(path))
    assert Split(image, label) in splits
    for split in splits:
        before, after = text.replace("{image}", split.image).replace("{class}", split.label).split("*")
        assert path.startswith(before)
        assert path.endswith(after)
        assert "/" not in path[len(before) : len(path) - len(after)] + split.label


def test_a_class_that_others_cover_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/all/x.png", inside(1, 1, 4))
    put(tmp_path / "masks/cat/x.png", inside(1, 1, 4))
    draw(tmp_path, "masks/{class}/{image}.png")
    told = capsys.readouterr().err
    assert "all: value 1, in 0 of 1 masks, since others cover it or it is empty" in told
    assert told.count("cover") == 1
