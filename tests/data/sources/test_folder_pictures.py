"""Whatever picture files a folder holds, the canonical data set holds upright RGB photographs and index masks."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hostile import set_meaning_of_alpha
from numpy.typing import NDArray
from tiffs import GREY as BLACK_IS_ZERO
from tiffs import GREY_FROM_WHITE, PLANE_BY_PLANE, RGB, SIGNED, write_tiff
from tiny import FOLDER

from ucc.data.dataset import DRAWN, DatasetInfo
from ucc.data.images import read_image, read_mask
from ucc.data.sources.folder import prepare_folder
from ucc.data.sources.pictures import look
from ucc.errors import UserError
from ucc.images import read_image as segmenter_reads

RNG = np.random.default_rng(0)
PHOTO = cv2.resize(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8), (24, 16), interpolation=cv2.INTER_CUBIC)
INDICES = RNG.integers(0, 3, PHOTO.shape[:2]).astype(np.uint8)
CLASSES: list[dict[str, Any]] = [
    {"name": "ground", "color": [0, 0, 0]},
    {"name": "cat", "color": [220, 20, 60]},
    {"name": "dog", "color": [30, 144, 255]},
]
COLORS = np.array([entry["color"] for entry in CLASSES], np.uint8)
MINE = replace(FOLDER, val=0.2, classes=CLASSES)


def save(path: Path, pixels: NDArray[Any] | PIL.Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def turned(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def palette_mask(indices: NDArray[np.uint8] = INDICES) -> PIL.Image.Image:
    return with_palette(indices, COLORS.tolist())


def with_palette(indices: NDArray[np.uint8], colors: list[list[int]]) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(indices)
    picture.putpalette([value for color in colors for value in color])
    return picture


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Four plain images with masks and one without."""
    root = tmp_path / "mine"
    for name in "abcd":
        save(root / f"images/{name}.png", PHOTO)
        save(root / f"masks/{name}.png", INDICES)
    save(root / "images/e.png", PHOTO)
    return root


def prepared(root: Path, **changes: Any) -> Path:
    out = root.parent / "out"
    prepare_folder(root, out, replace(MINE, **changes))
    return out


def found(out: Path, kind: str, stem: str) -> Path:
    (path,) = (p for p in (out / kind).glob("*/*") if p.stem == stem)
    return path


def refused(root: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepared(root, **changes)
    assert not (root.parent / "out").exists()
    assert sorted(p.name for p in root.parent.iterdir()) == ["mine"]
    return str(caught.value)


def deep(picture: NDArray[np.uint8], more: int = 0) -> NDArray[np.uint16]:
    return (picture.astype(int) * 257 + more).clip(0, 65535).astype(np.uint16)


def write_deep(path: Path, pixels: NDArray[np.uint16]) -> None:
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


GREY = PHOTO[..., 0]
AS_RGB = np.repeat(GREY[..., None], 3, axis=2)
ALPHA = np.dstack([PHOTO, np.full(GREY.shape, 9, np.uint8)])


@pytest.mark.parametrize(
    ("name", "write", "expected", "note"),
    [
        ("x.png", lambda p: save(p, GREY), AS_RGB, "grey: converted to RGB"),
        ("x.png", lambda p: save(p, ALPHA), PHOTO, "alpha channel is dropped"),
        ("x.png", lambda p: save(p, np.dstack([GREY, GREY // 2])), AS_RGB, "alpha channel is dropped"),
        ("x.png", lambda p: write_deep(p, deep(GREY)), AS_RGB, "divided by 257"),
        ("x.png", lambda p: write_deep(p, deep(PHOTO)), PHOTO, "divided by 257"),
        ("x.png", lambda p: write_deep(p, deep(PHOTO, 100)), PHOTO, "divided by 257"),
        ("x.png", lambda p: write_deep(p, deep(PHOTO, -100)), PHOTO, "divided by 257"),
        ("x.tif", lambda p: write_deep(p, deep(PHOTO)), PHOTO, "divided by 257"),
        ("x.tif", lambda p: write_tiff(p, deep(PHOTO), RGB, PLANE_BY_PLANE), PHOTO, "divided by 257"),
        ("x.tif", lambda p: write_tiff(p, 65535 - deep(GREY), GREY_FROM_WHITE), AS_RGB, "divided by 257"),
        ("x.tif", lambda p: write_tiff(p, 255 - GREY, GREY_FROM_WHITE), AS_RGB, "grey: converted to RGB"),
        ("x.tif", lambda p: write_tiff(p, PHOTO, RGB, big=True), PHOTO, "written as PNG"),
        ("x.tif", lambda p: write_tiff(p, ALPHA, RGB, extra=(0,)), PHOTO, "of more channels than colours"),
        ("x.tif", lambda p: write_tiff(p, ALPHA[..., ::2], 1, extra=(0,)), AS_RGB, "of more channels than colours"),
        ("x.png", lambda p: save(p, palette_mask()), COLORS[INDICES], "palette: converted"),
        ("x.bmp", lambda p: save(p, PHOTO), PHOTO, "written as PNG"),
        ("x.TIFF", lambda p: save(p, PHOTO, compression="tiff_lzw"), PHOTO, "written as PNG"),
        ("x.webp", lambda p: save(p, PHOTO, lossless=True), PHOTO, "written as PNG"),
        ("x.png", lambda p: save(p, PHOTO, exif=turned(3)), np.rot90(PHOTO, 2), "turned upright"),
        ("x.png", lambda p: save(p, PHOTO, exif=turned(2)), PHOTO[:, ::-1], "turned upright"),
    ],
)
def test_a_photograph_of_any_kind_becomes_rgb_and_is_told(
    name: str,
    write: Callable[[Path], Any],
    expected: NDArray[np.uint8],
    note: str,
    mine: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(mine / "images" / name)
    out = prepared(mine)
    assert found(out, "images", "x").name == "x.png"
    np.testing.assert_array_equal(read_image(found(out, "images", "x")), expected)
    told = [line for line in capsys.readouterr().err.splitlines() if note in line]
    assert len(told) == 1
    assert told[0].startswith("folder: 1 image is ")
    assert told[0].endswith(f"such as images/{name}")
    assert told[0].removeprefix("folder: ") in DatasetInfo.read(out).provenance["notes"]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("meaning", [0, 1, 2], ids=["anything", "multiplied", "not multiplied"])
@pytest.mark.parametrize(("colors", "expected"), [(PHOTO, PHOTO), (GREY[..., None], AS_RGB)], ids=["RGBA", "grey"])
def test_alpha_of_a_tiff_is_dropped_as_when_the_segmenter_reads_it(
    colors: NDArray[np.uint8], expected: NDArray[np.uint8], meaning: int, compression: str | None, mine: Path
) -> None:
    alpha = np.arange(GREY.size).reshape(GREY.shape).astype(np.uint8)
    path = save(mine / "images/x.tif", np.dstack([colors, alpha]), compression=compression, exif=turned(6))
    set_meaning_of_alpha(path, meaning)
    read = read_image(found(prepared(mine), "images", "x"))
    np.testing.assert_array_equal(read, np.rot90(expected, -1))
    np.testing.assert_array_equal(read, segmenter_reads(path))


@pytest.mark.parametrize(
    ("bands", "why"), [(2, "2 channels that it does not call colours; write"), (5, "5 channels; save the three")]
)
def test_a_tiff_of_channels_that_are_not_read_is_not_called_another_kind_of_file(
    bands: int, why: str, mine: Path
) -> None:
    done, encoded = cv2.imencodemulti(".tif", [deep(GREY)])
    assert done
    counted = struct.pack("<HHIH", 277, 3, 1, 1)
    before, after = encoded.tobytes().split(counted)
    (mine / "images/b.png").write_bytes(before + struct.pack("<HHIH", 277, 3, 1, bands) + after)
    (line,) = (line for line in refused(mine).splitlines() if "images/b.png" in line)
    assert line.startswith(f"- a TIFF of {why}")


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda p: write_tiff(p, PHOTO, BLACK_IS_ZERO), "write three with photometric=RGB, or one"),
        (lambda p: write_tiff(p, deep(PHOTO), BLACK_IS_ZERO, PLANE_BY_PLANE), "write three with photometric=RGB"),
        (lambda p: write_tiff(p, np.dstack([PHOTO, GREY, GREY]), RGB, extra=(0, 0)), "of 5 channels; save the three"),
        (lambda p: write_tiff(p, ALPHA, RGB, PLANE_BY_PLANE, extra=(0,)), "stored plane by plane; save it pixel by"),
        (lambda p: write_tiff(p, GREY.astype(np.int16), 1, sample_format=SIGNED), "of signed or floating-point"),
        (lambda p: save(p, PHOTO, compression="zstd"), "of compression 50000, which is not read; save it with LZW"),
        (lambda p: save(p, PIL.Image.frombytes("LAB", (24, 16), PHOTO.tobytes())), "of CIELab colours"),
    ],
)
def test_a_tiff_that_the_segmenter_would_not_read_is_not_learned_from(
    write: Callable[[Path], Any], why: str, mine: Path
) -> None:
    for name in "xy":
        write(mine / f"images/{name}.tif")
    (line,) = (line for line in refused(mine).splitlines() if why in line)
    assert line.endswith(": images/x.tif, images/y.tif")
    for read in (look, segmenter_reads):
        with pytest.raises(UserError, match=why):
            read(mine / "images/x.tif")


def test_images_that_use_few_of_their_16_bits_are_told_with_the_largest_value(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_12_bits = PHOTO.astype(np.uint16) * 16
    write_deep(mine / "images/x.png", of_12_bits)
    write_deep(mine / "images/y.tif", of_12_bits // 4)
    one_bright = of_12_bits.copy()
    one_bright[0, 0] = 65535  # a pixel that the sensor has lost does not hide the rest
    write_deep(mine / "images/z.png", one_bright)
    prepared(mine)
    told = "{} images are nearly black once divided by 257, with 99 in 100 values below 32 of 255 and the largest {}:"
    assert told.format(3, 255) in capsys.readouterr().err
    (mine / "images/z.png").unlink()
    prepared(mine)
    assert told.format(2, (int(of_12_bits.max()) + 128) // 257) in capsys.readouterr().err


def test_opencv_does_not_tell_of_tags_that_it_does_not_know(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_tiff(mine / "images/x.tif", PHOTO, RGB, own_tag=True)
    np.testing.assert_array_equal(read_image(found(prepared(mine), "images", "x")), segmenter_reads(path))
    assert "65000" not in capfd.readouterr().err


def test_an_image_that_uses_its_16_bits_is_not_called_nearly_black(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deep(mine / "images/x.png", deep(PHOTO))
    save(mine / "images/y.tif", np.zeros_like(PHOTO))  # of 8 bits nobody takes too few
    prepared(mine)
    assert "nearly black" not in capsys.readouterr().err


@pytest.mark.parametrize("frames", [1, 3])
def test_a_photograph_may_not_be_a_gif(frames: int, mine: Path) -> None:
    pages = [PIL.Image.fromarray(np.roll(PHOTO, shift, axis=1)) for shift in range(frames)]
    save(mine / "images/x.png", pages[0], format="GIF", save_all=True, append_images=pages[1:])
    assert "a GIF, which only masks may be; save it as PNG or JPEG: images/x.png" in refused(mine)


@pytest.mark.parametrize("mask", [PIL.Image.fromarray(INDICES), palette_mask()], ids=["grey", "palette"])
def test_a_mask_may_be_a_gif(mask: PIL.Image.Image, mine: Path) -> None:
    save(mine / "masks/b.gif", mask)
    (mine / "masks/b.png").unlink()
    assert np.array_equal(read_mask(found(prepared(mine), "masks", "b")), INDICES)


def test_a_gif_of_several_frames_is_no_mask(mine: Path) -> None:
    pages = [PIL.Image.fromarray(np.full(INDICES.shape, value, np.uint8)) for value in range(3)]
    save(mine / "masks/b.png", pages[0], format="GIF", save_all=True, append_images=pages[1:])
    assert "a mask of several pages or frames; save it as one picture that shows all classes: masks/b.png" in refused(
        mine
    )


def test_a_mask_of_several_pages_is_refused(mine: Path) -> None:
    pages = [PIL.Image.fromarray(np.full(INDICES.shape, value, np.uint8)) for value in range(3)]
    save(mine / "masks/b.tif", pages[0], save_all=True, append_images=pages[1:])
    (mine / "masks/b.png").unlink()
    assert "a mask of several pages or frames; save it as one picture that shows all classes: masks/b.tif" in refused(
        mine
    )


def test_a_folder_made_of_the_embedded_data_set_is_one_of_the_users_own(mine: Path) -> None:
    names, colors = zip(*((entry["name"], tuple(entry["color"])) for entry in CLASSES), strict=True)
    DatasetInfo("copied", names, colors, provenance={"source": DRAWN, "seed": 3}).write(mine)
    assert DatasetInfo.read(prepared(mine, classes=None)).provenance == {"source": "folder", "seed": 3}


def test_notes_count_the_images_of_a_kind(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("f", "g", "h"):
        save(mine / f"images/{name}.jpg", GREY)
    prepared(mine)
    assert "folder: 3 images are grey: converted to RGB, such as images/f.jpg\n" in capsys.readouterr().err


def test_nothing_is_noted_where_nothing_is_changed(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = prepared(mine)
    assert "folder:" not in capsys.readouterr().err
    assert DatasetInfo.read(out).provenance == {"source": "folder"}


@pytest.mark.parametrize(("name", "format_"), [("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.PNG", "PNG")])
def test_an_upright_rgb_file_is_copied_byte_for_byte(name: str, format_: str, mine: Path) -> None:
    source = save(mine / "images" / name, PHOTO, format=format_, exif=turned(1))
    copy = found(prepared(mine), "images", "x")
    assert copy.name == name
    assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("name", "format_", "copied_as"), [("x.bmp", "JPEG", "x.jpeg"), ("x.tif", "PNG", "x.png")])
def test_a_file_whose_name_lies_is_taken_for_what_it_is(name: str, format_: str, copied_as: str, mine: Path) -> None:
    source = save(mine / "images" / name, PHOTO, format=format_)
    copy = found(prepared(mine), "images", "x")
    assert copy.name == copied_as
    assert copy.read_bytes() == source.read_bytes()


def test_a_cmyk_jpeg_becomes_rgb(mine: Path) -> None:
    plain = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    save(mine / "images/x.jpg", PIL.Image.fromarray(plain).convert("CMYK"), quality=100)
    pixels = read_image(found(prepared(mine), "images", "x"))
    assert np.abs(pixels.astype(int) - plain).max() <= 3


@pytest.mark.parametrize(("orientation", "clockwise"), [(6, 1), (8, 3)])
@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_an_image_is_turned_upright_and_its_mask_is_not(
    name: str, orientation: int, clockwise: int, mine: Path
) -> None:
    options: dict[str, Any] = {"exif": turned(orientation)}
    if name.endswith("jpg"):
        options |= {"quality": 100, "subsampling": 0}
    save(mine / "images" / name, PHOTO, **options)
    upright = np.rot90(INDICES, -clockwise)
    save(mine / "masks/x.png", upright)
    out = prepared(mine)
    pixels = read_image(found(out, "images", "x"))
    assert np.abs(pixels.astype(int) - np.rot90(PHOTO, -clockwise)).max() <= 12
    np.testing.assert_array_equal(read_mask(found(out, "masks", "x")), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_an_uncompressed_tiff_is_turned_like_any_other(mode: str, orientation: int, mine: Path) -> None:
    """By its path Pillow maps such a file into memory, by the size of the picture that it has turned."""
    photo = PIL.Image.fromarray(ALPHA).convert(mode)
    save(mine / "images/x.tif", photo, exif=turned(orientation))
    save(mine / "images/y.tif", photo, exif=turned(orientation), compression="tiff_lzw")
    out = prepared(mine)
    one, other = (read_image(found(out, "images", name)) for name in "xy")
    np.testing.assert_array_equal(one, other)
    assert one.shape == (PHOTO.shape if orientation < 5 else np.rot90(PHOTO).shape)
    if orientation == 6:
        np.testing.assert_array_equal(one, np.rot90(np.array(photo.convert("RGB")), -1))


def test_an_image_is_turned_by_exif_alone_as_when_the_segmenter_reads_it(mine: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    save(mine / "images/x.jpg", PHOTO, xmp=xmp)
    save(mine / "images/x2.webp", PHOTO, xmp=xmp, lossless=True)
    out = prepared(mine)
    assert [read_image(found(out, "images", name)).shape for name in ("x", "x2")] == [PHOTO.shape] * 2
    assert segmenter_reads(mine / "images/x.jpg").shape == PHOTO.shape


def test_a_mask_of_the_unturned_size_is_refused(mine: Path) -> None:
    save(mine / "images/x.jpg", PHOTO, exif=turned(6))
    save(mine / "masks/x.png", INDICES)
    message = refused(mine)
    assert "size of the image before its EXIF rotation; turn the mask or remove the tag" in message
    assert "masks/x.png is 16x24, its image 24x16" in message


def test_where_sizes_cannot_tell_the_mask_is_accepted_and_that_is_told(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(mine / "images/half.png", PHOTO, exif=turned(3))
    save(mine / "masks/half.png", INDICES)
    save(mine / "images/square.png", PHOTO[:16, :16], exif=turned(6))
    save(mine / "masks/square.png", INDICES[:16, :16])
    save(mine / "images/bare.png", PHOTO, exif=turned(3))
    prepared(mine)
    told = "2 images are turned upright as EXIF says, with a mask whose size does not tell whether it was drawn so"
    assert told in capsys.readouterr().err


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(width: int, height: int, bits: int, color: int, rows: list[bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def few_bits(indices: NDArray[np.uint8], bits: int) -> bytes:
    unpacked = np.unpackbits(indices[..., None], axis=2)[..., 8 - bits :].reshape(len(indices), -1)
    return raw_png(indices.shape[1], len(indices), bits, 0, [row.tobytes() for row in np.packbits(unpacked, axis=1)])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.png", lambda p: save(p, INDICES)),
        ("x.PNG", lambda p: save(p, INDICES)),
        ("x.bmp", lambda p: save(p, INDICES)),
        ("x.tif", lambda p: save(p, INDICES)),
        ("x.tiff", lambda p: save(p, INDICES.astype(np.uint16))),
        ("x.png", lambda p: write_deep(p, INDICES.astype(np.uint16))),
        ("x.png", lambda p: p.write_bytes(few_bits(INDICES, 2))),
        ("x.png", lambda p: p.write_bytes(few_bits(INDICES, 4))),
        ("x.png", lambda p: save(p, palette_mask())),
        ("x.bmp", lambda p: save(p, palette_mask())),
        ("x.tif", lambda p: save(p, palette_mask())),
        ("x.png", lambda p: save(p, np.dstack([INDICES, INDICES * 0]))),
        ("x.png", lambda p: save(p, COLORS[INDICES])),
        ("x.tif", lambda p: save(p, COLORS[INDICES])),
        ("x.png", lambda p: save(p, np.dstack([COLORS[INDICES], INDICES]))),
        ("x.png", lambda p: save(p, INDICES.T[:, ::-1], exif=turned(8))),
        ("x.tif", lambda p: save(p, INDICES.astype(np.int32))),
        ("x.tif", lambda p: save(p, INDICES.astype(np.float32))),
        ("x.tif", lambda p: write_tiff(p, INDICES.astype(np.int16), 1, sample_format=SIGNED)),
        ("x.tif", lambda p: write_tiff(p, INDICES.astype(np.uint32), 1)),
        ("x.png", lambda p: save(p, palette_mask(), format="GIF")),
        ("x.png", lambda p: save(p, INDICES, format="GIF")),
    ],
)
def test_a_mask_of_any_kind_becomes_class_indices(name: str, write: Callable[[Path], Any], mine: Path) -> None:
    save(mine / "images/x.png", PHOTO)
    write(mine / "masks" / name)
    mask = found(prepared(mine), "masks", "x")
    assert mask.name == "x.png"
    np.testing.assert_array_equal(read_mask(mask), INDICES)


def test_one_bit_masks_hold_0_and_1(mine: Path) -> None:
    save(mine / "images/x.png", PHOTO)
    save(mine / "masks/x.png", PIL.Image.fromarray(INDICES == 1))
    np.testing.assert_array_equal(read_mask(found(prepared(mine), "masks", "x")), INDICES == 1)


def test_a_palette_mask_is_matched_by_its_colours_where_the_format_is_color(mine: Path) -> None:
    for name in "abcd":
        save(mine / f"masks/{name}.png", palette_mask(2 - INDICES))
    swapped = [CLASSES[2], CLASSES[1], CLASSES[0]]
    out = prepared(mine, mask_format="color", classes=swapped)
    np.testing.assert_array_equal(read_mask(found(out, "masks", "a")), INDICES)


def test_a_grey_mask_is_matched_as_grey_colours_where_the_format_is_color(mine: Path) -> None:
    shades = [{"name": f"c{i}", "color": [10 * i] * 3} for i in range(3)]
    for name in "abcd":
        save(mine / f"masks/{name}.png", INDICES * 10)
    out = prepared(mine, mask_format="color", classes=shades)
    np.testing.assert_array_equal(read_mask(found(out, "masks", "a")), INDICES)


def as_rgb(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("mask_format", "classes"),
    [("index", CLASSES), ("auto", [{"name": entry["name"]} for entry in CLASSES])],
    ids=["index", "no colours"],
)
def test_rgb_masks_of_grey_pixels_hold_values_where_colours_cannot_tell(
    mask_format: str, classes: list[dict[str, Any]], mine: Path
) -> None:
    save(mine / "masks/a.png", as_rgb(INDICES))
    save(mine / "masks/b.png", np.dstack([as_rgb(INDICES), np.full_like(INDICES, 255)]))
    out = prepared(mine, mask_format=mask_format, classes=classes)
    for name in "abc":
        np.testing.assert_array_equal(read_mask(found(out, "masks", name)), INDICES)
    one_red = as_rgb(INDICES)
    one_red[0, 0, 0] = 9
    save(mine / "masks/b.png", one_red)
    with pytest.raises(UserError, match=r"RGB mask where|colour mask, but no color in .* for ground, cat, dog"):
        prepared(mine, mask_format=mask_format, classes=classes)


def test_grey_colours_that_the_classes_have_are_colours(mine: Path) -> None:
    shades = [{"name": f"c{i}", "color": [2 - i] * 3} for i in range(3)]
    for name in "abcd":
        save(mine / f"masks/{name}.png", as_rgb(2 - INDICES))
    out = prepared(mine, classes=shades)
    np.testing.assert_array_equal(read_mask(found(out, "masks", "a")), INDICES)


def test_grey_rgb_masks_that_match_no_colour_are_refused_with_the_remedy_and_those_of_colours_without(
    mine: Path,
) -> None:
    remedy = "if grey RGB masks hold values, set dataset.folder.mask_format to index"
    save(mine / "masks/a.png", as_rgb(INDICES))
    message = refused(mine)
    assert "[1, 1, 1]" in message
    assert remedy in message
    colors = COLORS[INDICES]
    colors[0, 0] = 1, 1, 1
    save(mine / "masks/a.png", colors)
    message = refused(mine)
    assert "[1, 1, 1]" in message
    assert remedy not in message


@pytest.mark.parametrize("value", [0.5, -1, 65536, np.nan, np.inf])
def test_masks_of_numbers_that_are_no_values_are_refused_all_at_once(value: float, mine: Path) -> None:
    numbers = INDICES.astype(np.float32)
    numbers[3, 4] = value
    for name in "ab":
        (mine / f"masks/{name}.png").unlink()
        save(mine / f"masks/{name}.tif", numbers)
    why = "mask values that are not whole numbers of 0 to 65535; save the mask as 8-bit grey"
    assert f"{why}: masks/a.tif, masks/b.tif" in refused(mine)


def test_values_are_those_that_the_classes_name(mine: Path) -> None:
    values = [7, 26, 1000]
    for name in "abcd":
        write_deep(mine / f"masks/{name}.png", np.array(values, np.uint16)[INDICES])
    classes = [{"name": f"c{i}", "value": value} for i, value in enumerate(values)]
    np.testing.assert_array_equal(read_mask(found(prepared(mine, classes=classes), "masks", "a")), INDICES)


def test_255_may_be_a_class(mine: Path) -> None:
    for name in "abcd":
        save(mine / f"masks/{name}.png", (INDICES > 0).astype(np.uint8) * 255)
    out = prepared(mine, classes=[{"name": "ground", "value": 0}, {"name": "cat", "value": 255}], ignore=[255])
    np.testing.assert_array_equal(read_mask(found(out, "masks", "a")), INDICES > 0)


def test_ignored_values_and_colours_become_255(mine: Path) -> None:
    marked = INDICES.copy()
    marked[0] = 9
    colors = COLORS[INDICES]
    colors[0] = 224, 224, 192
    save(mine / "masks/a.png", marked)
    save(mine / "masks/b.png", colors)
    out = prepared(mine, ignore=[9, [224, 224, 192]])
    for name in "ab":
        mask = read_mask(found(out, "masks", name))
        assert (mask[0] == 255).all()
        np.testing.assert_array_equal(mask[1:], INDICES[1:])


def test_unknown_values_and_colours_are_all_named_with_counts(mine: Path) -> None:
    odd = INDICES.copy()
    odd[0, :3] = 7
    odd[0, 3] = 8
    save(mine / "masks/a.png", odd)
    save(mine / "masks/b.png", odd)
    colors = COLORS[INDICES]
    colors[0, :2] = 220, 20, 61
    save(mine / "masks/c.png", colors)
    message = refused(mine)
    assert "7 (6 pixels in 2 masks), 8 (2 pixels in 2 masks), [220, 20, 61] (2 pixels in 1 masks)" in message
    assert "in masks/a.png (7, 8), masks/b.png (7, 8), masks/c.png ([220, 20, 61])" in message


def test_all_masks_with_unknown_values_are_named_however_many(mine: Path) -> None:
    names = [f"masks/m{index}.png" for index in range(12)]
    for index, name in enumerate(names):
        save(mine / name, np.full_like(INDICES, 7))
        save(mine / f"images/m{index}.png", PHOTO)
    message = refused(mine)
    assert all(f"\n    {name} (7)" in message for name in names)


def test_a_photograph_in_place_of_a_mask_does_not_fill_the_screen(mine: Path) -> None:
    save(mine / "masks/a.png", PHOTO)
    message = refused(mine)
    assert " more" in message
    assert len(message) < 3000


def test_an_rgb_mask_where_indices_are_declared_is_refused_with_both_remedies(mine: Path) -> None:
    save(mine / "masks/b.png", COLORS[INDICES])
    message = refused(mine, mask_format="index")
    assert "set it to auto or color, or save the mask as a grey or palette picture: masks/b.png" in message


@pytest.mark.parametrize("mask_format", ["auto", "color"])
def test_colour_masks_need_the_colours_of_all_classes(mask_format: str, mine: Path) -> None:
    save(mine / "masks/b.png", COLORS[INDICES])
    assert "dog" in refused(mine, mask_format=mask_format, classes=[*CLASSES[:2], {"name": "dog"}])


def test_masks_that_hold_indices_already_are_copied_byte_for_byte(mine: Path) -> None:
    source = save(mine / "masks/a.png", INDICES, pnginfo=None, compress_level=1)
    assert found(prepared(mine), "masks", "a").read_bytes() == source.read_bytes()


def truncated(path: Path) -> None:
    save(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), format="JPEG" if path.suffix == ".jpg" else None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize(
    ("write", "names", "why"),
    [
        (truncated, ("x.jpg", "y.jpg"), "damaged or incomplete"),
        (truncated, ("x.png", "y.png"), "damaged or incomplete"),
        (lambda p: p.write_bytes(b""), ("x.jpg", "y.png"), "empty file"),
        (lambda p: p.write_text("hello"), ("x.png", "y.tif"), "not a JPEG, PNG, BMP, TIFF or WebP picture"),
        (lambda p: p.symlink_to("nowhere.png"), ("x.png", "y.png"), "link to nowhere"),
        (lambda p: p.write_bytes(raw_png(20000, 20000, 8, 2, [b""])), ("x.png", "y.png"), "more than 178 megapixels"),
        (lambda p: p.write_bytes(raw_png(13400, 13400, 8, 2, [b""])), ("x.png", "y.png"), "more than 178 megapixels"),
        (lambda p: save(p, PIL.Image.fromarray(GREY / np.float32(3))), ("x.tif", "y.tif"), "neither 8 nor 16 bits"),
    ],
)
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_all_bad_files_of_a_kind_are_named_at_once(
    kind: str, write: Callable[[Path], Any], names: tuple[str, str], why: str, mine: Path
) -> None:
    for name in names:
        if kind == "masks":
            save(mine / f"images/{name}".replace(".jpg", ".png"), PHOTO, format="PNG")
            name = name.replace(".jpg", ".png")
        write(mine / kind / name)
    message = refused(mine)
    listed = [line for line in message.splitlines() if all(f"{kind}/{n.split('.')[0]}." in line for n in names)]
    if kind == "masks" and "bits" in why:
        why = "not whole numbers"
    assert any(why in line for line in listed), message


def test_problems_of_several_kinds_come_together(mine: Path) -> None:
    (mine / "images/a.png").write_bytes(b"")
    (mine / "images/b.png").write_text("text")
    save(mine / "masks/c.png", INDICES[:8])
    save(mine / "masks/d.png", INDICES + 5)
    message = refused(mine)
    for expected in (
        "empty file; replace or remove: images/a.png",
        "not a JPEG",
        "masks/c.png is 8x24, its image 16x24",
        "7 (",
    ):
        assert expected in message


def test_an_unreadable_file_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = Path.open

    def denied(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "b.png" and path.parent.name == "images":
            raise PermissionError(13, "Permission denied")
        return open_(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)
    assert "cannot be read (Permission denied); mend or remove: images/b.png" in refused(mine)


def test_the_old_data_set_stays_when_a_picture_is_bad(mine: Path) -> None:
    out = prepared(mine)
    before = {p: p.read_bytes() for p in out.rglob("*.*")}
    truncated(mine / "images/x.jpg")
    with pytest.raises(UserError):
        prepared(mine)
    assert {p: p.read_bytes() for p in out.rglob("*.*")} == before
    assert sorted(p.name for p in mine.parent.iterdir()) == ["mine", "out"]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_masks_with_a_wrong_bit_among_their_pixels_are_all_refused(mine: Path, mode: str) -> None:
    for name in "ab":
        # Uncompressed, so that the bit is one of a pixel: before it is IEND's length, a checksum, and deflate's own.
        path = save(mine / f"masks/{name}.png", palette_mask().convert(mode), compress_level=0)
        damaged = bytearray(path.read_bytes())
        damaged[damaged.index(b"IEND") - 13] ^= 1
        path.write_bytes(damaged)
    assert "damaged or incomplete; replace or remove: masks/a.png, masks/b.png" in refused(mine)


def test_a_palette_that_shows_other_classes_than_the_indices_mean_is_refused(mine: Path) -> None:
    ground, cat, dog = COLORS.tolist()
    for name, colors in (("a", [ground, dog, cat]), ("b", [cat, ground, dog]), ("c", [ground, cat, dog])):
        save(mine / f"masks/{name}.png", with_palette(INDICES, colors))
    message = refused(mine)
    assert "masks/a.png (1 is cat, its colour dog's; 2 is dog, its colour cat's)" in message
    assert "masks/b.png (0 is ground, its colour cat's; 1 is cat, its colour ground's)" in message
    assert "masks/c.png" not in message
    assert "set dataset.folder.mask_format to color" in message
    assert "give each its value" in message


def test_a_palette_is_believed_where_the_values_of_the_classes_or_the_format_follow_it(mine: Path) -> None:
    ground, cat, dog = COLORS.tolist()
    for name in "abcd":
        save(mine / f"masks/{name}.png", with_palette(INDICES, [ground, dog, cat]))
    valued = [entry | {"value": value} for entry, value in zip(CLASSES, (0, 2, 1), strict=True)]
    expected = np.array([0, 2, 1], np.uint8)[INDICES]
    for changes in ({"classes": valued}, {"mask_format": "color"}):
        np.testing.assert_array_equal(read_mask(found(prepared(mine, **changes), "masks", "a")), expected)


@pytest.mark.parametrize(
    "colors",
    [
        [[i, i, i] for i in range(256)],
        [[0, 0, 0], [1, 2, 3], [0, 0, 0]],
        [[9, 9, 9], [200, 0, 0], [0, 200, 0]],
    ],
    ids=["grey ramp", "filled up with black", "colours of no class"],
)
def test_a_palette_that_means_nothing_does_not_matter(mine: Path, colors: list[list[int]]) -> None:
    classes = [CLASSES[1], CLASSES[0], CLASSES[2]] if len(colors) == 256 else CLASSES
    save(mine / "masks/a.png", with_palette(INDICES, colors))
    np.testing.assert_array_equal(read_mask(found(prepared(mine, classes=classes), "masks", "a")), INDICES)


def test_the_colours_of_a_class_without_a_given_one_contradict_nothing(mine: Path) -> None:
    ground, cat, _ = COLORS.tolist()
    classes = [{"name": "a"}, {"name": "b"}, {"name": "c", "color": [0, 0, 255]}]
    save(mine / "masks/a.png", with_palette(INDICES, [ground, [0, 0, 0], cat]))
    np.testing.assert_array_equal(read_mask(found(prepared(mine, classes=classes), "masks", "a")), INDICES)
