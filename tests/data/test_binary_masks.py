"""A picture for each class or object becomes part of a mask; what is none, or may be of several images, is named."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from annotated import HEIGHT, WIDTH, command, expected, read, write_photo
from hypothesis import given
from hypothesis import strategies as st
from inspected import proposed, run
from numpy.typing import NDArray

from ucc.data.annotations.__main__ import main
from ucc.data.annotations.binary_masks import read_binary_mask
from ucc.data.annotations.pattern import Pattern, Split
from ucc.data.inspect.__main__ import inspect
from ucc.errors import UserError

TWO_CLASSES = expected((1, 1, 8, 1), (3, 3, 2, 2))
NOWHERE = np.zeros((HEIGHT, WIDTH), np.uint8)


def inside(left: int, top: int, side: int, value: int = 255) -> NDArray[np.uint8]:
    return expected((left, top, side, value)).astype(np.uint8)


def put(path: Path, mask: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask).save(path)


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
    PIL.Image.fromarray(np.full((16, 16), 3, np.uint8)).save(tmp_path / f"n{suffix}")
    assert not read_binary_mask(tmp_path / f"n{suffix}").any()


def test_smoothed_edges_are_cut_at_half(tmp_path: Path) -> None:
    mask = inside(2, 3, 4)
    mask[3, 2:6] = (40, 127, 128, 230)
    put(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.png")[3, 2:6], [False, False, True, True])


def transparent(path: Path) -> None:
    PIL.Image.fromarray(np.dstack([inside(2, 3, 4)] * 4)).save(path)


def photograph(path: Path) -> None:
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: put(path, expected((0, 0, 2, 1), (4, 4, 2, 2)).astype(np.uint8)),
            "this one has 1, 2; is it a mask",
        ),
        (lambda path: put(path, expected((0, 0, 2, 1), (4, 4, 2, 900)).astype(np.uint16)), "this one has 1, 900"),
        (lambda path: put(path, expected((0, 0, 2, 1), elsewhere=2).astype(np.uint8)), "this one has 1, 2"),
        (transparent, "is transparent in parts"),
        (photograph, "is it a mask, and of one class?"),
        (lambda path: path.write_bytes(b"\x89PNG"), "m.png: "),
        (lambda path: put(path, inside(0, 0, 2)[1:]), "m.png"),
    ],
    ids=["classes", "16 bits", "no black", "transparent", "photograph", "damaged", "another size"],
)
def test_what_is_no_binary_mask_is_named_and_nothing_is_drawn(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    for name in "xm":
        write_photo(tmp_path / f"images/{name}.jpg")
    put(tmp_path / "masks/x.png", inside(0, 0, 2))
    write(tmp_path / "masks/m.png")
    with pytest.raises(UserError) as raised:
        draw(tmp_path, "cat=masks/{image}.png")
    assert message in str(raised.value)
    assert str(tmp_path / "masks/m.png") in str(raised.value)
    assert not (tmp_path / "drawn").exists()


def test_masks_of_an_image_in_two_sizes_are_named(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/cat/x.png", inside(0, 0, 2))
    put(tmp_path / "masks/dog/x.png", inside(0, 0, 2)[1:])
    with pytest.raises(UserError, match=r"cat/x\.png and .*dog/x\.png: of one image, in two sizes"):
        draw(tmp_path, "masks/{class}/{image}.png")


def test_a_picture_of_two_classes_is_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.jpg")
    put(tmp_path / "masks/x.png", inside(0, 0, 2))
    with pytest.raises(UserError, match=r"x\.png: fits patterns of cat and of dog"):
        draw(tmp_path, "cat=masks/{image}.png", "dog=masks/*{image}.png")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("masks/{class}.png", "{image} must stand in it once"),
        ("cat=masks/{image}/{image}.png", "{image} must stand in it once"),
        ("masks/{class}/{class}/{image}.png", "{class} at most once"),
        ("cat=masks/**/{image}.png", "no two stars in a row"),
        ("masks/{image}.png", "name the class, either before it (cat=masks/{image}.png) or in it by {class}"),
        ("cat=masks/{class}/{image}.png", "name the class, either before it"),
        ("cat=absent/{image}.png", "absent: folder that cannot be read"),
        ("cat=images/{image}_{image}.png", "{image} must stand in it once"),
        ("cat=images/{image}_mask.png", "_mask.png: no picture fits"),
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


Layout = Callable[[str], dict[str, str]]  # where the picture of each class or object lies, and that of the image


def by_class(name: str) -> dict[str, str]:
    return {"cat": f"masks/cat/{name}.png", "dog": f"masks/dog/{name}.png", "": f"images/{name}.jpg"}


def by_ending(name: str) -> dict[str, str]:
    return {"cat": f"masks/{name}_cat.png", "dog": f"masks/{name}_dog.png", "": f"images/{name}.jpg"}


def by_object(name: str) -> dict[str, str]:
    return {"0": f"{name}/masks/{name[-1]}0.png", "1": f"{name}/masks/{name[-1]}1.png", "": f"{name}/images/{name}.png"}


def objects_in_folders(name: str) -> dict[str, str]:
    return {"0": f"masks/{name}/0.png", "1": f"masks/{name}/1.png", "": f"images/{name}.jpg"}


@pytest.mark.parametrize("layout", [by_class, by_ending, by_object, objects_in_folders])
def test_inspect_names_the_commands_and_these_do_it(tmp_path: Path, layout: Layout) -> None:
    root = tmp_path / "my photos"
    for number in range(6):
        for index, (label, place) in enumerate(layout(f"x{number}").items()):
            if not label:
                write_photo(root / place, number)
            elif number < 4:
                put(root / place, inside(5 * index, 1, 4))
    told = run(str(root)).stderr.replace("CLASS=", "cell=")
    draw_them, look = (line for line in told.splitlines() if line.startswith("    python -m ucc.data."))
    assert command(*shlex.split(draw_them)[3:]).returncode == 0
    section: dict[str, Any] = proposed(run(*shlex.split(look)[3:]).stdout)["folder"]
    named = [entry["name"] for entry in section["classes"]]
    assert named == (["background", "cell"] if "cell=" in told else ["background", "cat", "dog"])


def test_masks_of_several_classes_are_no_binary_masks(tmp_path: Path) -> None:
    for number in range(6):
        write_photo(tmp_path / f"images/x{number}.jpg", number)
        for kind in ("labels", "instances"):
            put(tmp_path / f"masks/x{number}_{kind}.png", TWO_CLASSES.astype(np.uint8))
    assert "binary masks" not in run(str(tmp_path)).stderr
    assert proposed(inspect(tmp_path))["folder"]["mask_suffix"] == "_labels"
