"""Photographs from anybody's files: every kind as 8-bit RGB, and what is broken, cut off or huge refused."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hostile import HOSTILE, SIDE, TIFF_LONG, TIFF_LONG8, TIFF_SHORT, jpeg, jpeg_of_scans, set_meaning_of_alpha, tiff
from PIL import Image as PillowImage
from tiffs import GREY, GREY_FROM_WHITE, PLANE_BY_PLANE, RGB, SIGNED, write_tiff

from ucc.errors import UserError
from ucc.images import MAX_SCANS, decode_image, read_header, read_image
from ucc.pixel_limit import MAX_PIXELS

KINDS = [".jpg", ".png", ".bmp", ".tif", ".webp"]


@pytest.fixture
def image() -> np.ndarray:
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, 32:] = (240, 20, 10)
    return image


def encode(image: np.ndarray, kind: str) -> bytes:
    ordered = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    done, encoded = cv2.imencode(kind, ordered)
    assert done
    return encoded.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_rgb_and_its_header_the_size(image: np.ndarray, kind: str) -> None:
    encoded = encode(image, kind)
    assert read_header(encoded) == (40, 64, True)
    decoded = decode_image(encoded)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded[:, 36:].astype(int), image[:, 36:], atol=8)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0"}], ids=["VP8L", "VP8X"])
def test_the_variants_of_webp_declare_their_size(image: np.ndarray, tmp_path: Path, options: dict[str, bool]) -> None:
    PillowImage.fromarray(image).save(tmp_path / "i.webp", **options)
    assert read_header((tmp_path / "i.webp").read_bytes()) == (40, 64, True)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_may_be_progressive_hold_a_preview_and_go_on_after_its_end(
    image: np.ndarray, tmp_path: Path, progressive: bool
) -> None:
    path = tmp_path / "i.jpg"
    preview = encode(image[:8, :8], ".jpg")
    PillowImage.fromarray(image).save(path, progressive=progressive)
    plain = path.read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    encoded = plain[:2] + segment + plain[2:] + b"\0" * 5000
    assert read_header(encoded) == (40, 64, True)
    assert decode_image(encoded).shape == image.shape
    assert read_header(plain[:2] + segment + plain[2:-40]) == (40, 64, False)


def test_fill_bytes_may_stand_before_a_segment_of_a_jpeg(image: np.ndarray) -> None:
    plain = encode(image, ".jpg")
    filled = plain[:2] + b"\xff" * 3000 + plain[2:]
    assert read_header(filled) == (40, 64, True)
    assert decode_image(filled).shape == image.shape


def test_grey_16_bit_and_transparent_pictures_become_8_bit_rgb(image: np.ndarray) -> None:
    grey = decode_image(encode(image[..., 0], ".png"))
    np.testing.assert_array_equal(grey, np.repeat(image[..., :1], 3, axis=2))
    deep = decode_image(encode(image.astype(np.uint16) * 257, ".png"))
    np.testing.assert_array_equal(deep, image)
    clear = np.dstack([image[..., ::-1], np.full((40, 64), 9, np.uint8)])
    np.testing.assert_array_equal(decode_image(encode(clear, ".png")), image)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("meaning", [0, 1, 2], ids=["anything", "multiplied", "not multiplied"])
def test_alpha_of_a_tiff_is_dropped_and_changes_no_colour(
    image: np.ndarray, meaning: int, compression: str | None, tmp_path: Path
) -> None:
    alpha = np.arange(40 * 64).reshape(40, 64).astype(np.uint8)
    grey = image[..., :1]
    for pixels, expected in ((image, image), (grey, np.repeat(grey, 3, axis=2))):
        path = tmp_path / "a.tif"
        PillowImage.fromarray(np.dstack([pixels, alpha])).save(path, compression=compression)
        set_meaning_of_alpha(path, meaning)
        np.testing.assert_array_equal(read_image(path), expected)


def test_a_bmp_may_have_the_short_header_of_os2(image: np.ndarray) -> None:
    rows = image[::-1, :, ::-1].tobytes()
    encoded = struct.pack("<2sIHHIIHHHH", b"BM", 26 + len(rows), 0, 0, 26, 12, 64, 40, 1, 24) + rows
    assert read_header(encoded) == (40, 64, True)
    np.testing.assert_array_equal(decode_image(encoded), image)
    assert read_header(encoded[:-1]) == (40, 64, False)


def test_a_tiff_of_colours_that_decoders_do_not_agree_on_is_refused(image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    PillowImage.fromarray(image).save(path)
    assert read_image(path).tolist() == image.tolist()
    PillowImage.frombytes("LAB", image.shape[1::-1], image.tobytes()).save(path)
    with pytest.raises(UserError, match=r"a\.tif: a TIFF of CIELab colours"):
        read_image(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_may_be_stored_plane_by_plane_in_either_order_and_be_a_bigtiff(
    image: np.ndarray, kind: type, big: bool, order: str, tmp_path: Path
) -> None:
    pixels = (image.astype(int) * (257 if kind is np.uint16 else 1)).astype(kind)
    for planar in (1, PLANE_BY_PLANE):
        path = write_tiff(tmp_path / "a.tif", pixels, RGB, planar, order=order, big=big)
        assert read_header(path.read_bytes()) == (40, 64, True)
        np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("planar", [1, PLANE_BY_PLANE])
def test_the_last_strip_of_a_tiff_may_be_said_to_be_longer_than_its_rows(
    image: np.ndarray, planar: int, tmp_path: Path
) -> None:
    path = write_tiff(tmp_path / "a.tif", image, RGB, planar, spare=100)
    np.testing.assert_array_equal(read_image(path), image)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut off"):
        read_image(path)


def test_alpha_of_a_bigtiff_changes_no_colour(image: np.ndarray, tmp_path: Path) -> None:
    alpha = np.arange(40 * 64).reshape(40, 64).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", np.dstack([image, alpha]), RGB, extra=(2,), big=True)
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("planar", [1, PLANE_BY_PLANE])
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_a_tiff_of_which_the_last_byte_is_missing_is_refused(
    image: np.ndarray, big: bool, planar: int, tmp_path: Path
) -> None:
    path = write_tiff(tmp_path / "a.tif", image, RGB, planar, big=big)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) * 6 // 10):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"a\.tif: an image that is cut off or damaged"):
            read_image(path)


@pytest.mark.parametrize(
    ("channels", "kind", "options", "message"),
    [
        (3, np.uint8, {"photometric": GREY}, "3 channels that it does not call colours; write .* photometric=RGB"),
        (4, np.uint16, {"photometric": GREY, "extra": (0, 0, 0)}, "4 channels that it does not call colours"),
        (2, np.uint16, {"photometric": GREY, "extra": (0,)}, "2 channels that it does not call colours"),
        (2, np.uint8, {"photometric": GREY_FROM_WHITE, "extra": (0,)}, "2 channels that it does not call colours"),
        (5, np.uint8, {"photometric": RGB, "extra": (0, 0)}, "5 channels; save the three"),
        (4, np.uint8, {"photometric": RGB, "extra": (0,), "planar": PLANE_BY_PLANE}, "4 channels, stored plane by"),
        (1, np.int16, {"photometric": GREY, "sample_format": SIGNED}, "signed or floating-point numbers"),
        (1, np.float32, {"photometric": GREY, "sample_format": 3}, "neither 8 nor 16 bits a channel but 32"),
        (3, np.uint8, {"photometric": RGB, "compression": 34712}, "compression 34712, which is not read; save it"),
        (3, np.uint8, {"photometric": RGB, "compression": 50000}, "compression 50000, which is not read; save it"),
    ],
)
def test_a_tiff_of_which_no_picture_or_half_of_one_would_be_made_is_refused_with_the_remedy(
    channels: int, kind: type, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pixels = np.full((40, 64, channels), 9, kind)
    path = write_tiff(tmp_path / "a.tif", pixels[..., 0] if channels == 1 else pixels, **options)
    with pytest.raises(UserError, match=rf"a\.tif: a TIFF of {message}"):
        read_image(path)


def test_a_directory_that_nobody_could_read_ends_soon() -> None:
    endless = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**60) + bytes(200_000)
    assert read_header(endless) is None


def test_a_photograph_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = 255
    path = tmp_path / "turned.jpg"
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # stored turned by a quarter to the left; to be shown turned to the right
    PillowImage.fromarray(upright).rotate(90, expand=True).save(path, exif=exif, quality=100)
    read = read_image(path)
    assert read.shape == upright.shape
    assert read[:, :14].min() > 200
    assert read[:, 18:].max() < 55


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused(kind: str, share: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    encoded = encode(image, kind)
    with pytest.raises(UserError, match=r"an image|not an image"):
        decode_image(encoded[: int(len(encoded) * share)])


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_png_with_one_wrong_bit_is_refused_whatever_the_bit(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "i.png"
    PillowImage.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).convert(mode).save(path)
    good = path.read_bytes()
    assert decode_image(good).shape == (6, 8, 3)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError, match=r"cut off or damaged|not an image|declares"):
            decode_image(bytes(bad))


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 20, b"\xff\xd8 no more", b"BM", b"II*\0", b"RIFF"])
def test_what_is_no_image_is_refused_with_the_files_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"photo\.jpg: .*not an image"):
        read_image(path)


def test_a_path_may_be_text(image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(image, ".png"))
    np.testing.assert_array_equal(read_image(str(tmp_path / "photo.png")), image)
    with pytest.raises(UserError, match=r"absent\.png: cannot be read"):
        read_image(str(tmp_path / "absent.png"))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(UserError, match=f"{path.name}: cannot be read"):
            read_image(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_declares_too_many_pixels_is_refused_before_decoding(
    image: np.ndarray, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.images.MAX_PIXELS", 40 * 64 - 1)
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match="declares 64x40 pixels, more than 2,559"):
        decode_image(encode(image, kind))


def test_a_small_file_that_unpacks_to_gigabytes_is_refused() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    side = int(MAX_PIXELS**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match="more than 178,000,000"):
        decode_image(bomb)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_header_is_read_otherwise_than_the_decoder_reads_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ucc.images.MAX_PIXELS", SIDE**2 - 1)
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"not an image|more than \d+ scans|declares (9000x9000|16000x16000) pixels"):
        decode_image(HOSTILE[name])


def test_a_jpeg_may_have_many_scans_but_not_any_number() -> None:
    own = jpeg_of_scans(1).count(b"\xff\xda")
    assert read_header(jpeg_of_scans(MAX_SCANS - own + 1)) == (16, 16, True)
    with pytest.raises(UserError, match="more than 100 scans"):
        read_header(jpeg_of_scans(MAX_SCANS - own + 2))
    # What follows the end, as in photographs with a film, is no scan.
    assert read_header(jpeg_of_scans(1) + b"\xff\xda" * 5000) == (16, 16, True)


@pytest.mark.parametrize("kind", [TIFF_SHORT, TIFF_LONG])
def test_the_size_of_a_tiff_is_that_of_its_image_or_of_its_larger_tile(kind: int) -> None:
    size = (256, kind, 40), (257, kind, 30)
    assert read_header(tiff(*size)) == (30, 40, True)
    assert read_header(tiff(*size, (322, kind, 16), (323, kind, 16))) == (30, 40, True)
    assert read_header(tiff(*size, (322, kind, 64), (323, kind, 32))) == (32, 64, True)
    assert read_header(tiff((256, TIFF_LONG8, 16), size[1])) is None


@pytest.mark.parametrize(
    ("arguments", "size"),
    [(["serve", "absent.onnx", "--max-pixels", "100"], (11, 10)), (["segment", "absent.png", "out"], (13342, 13342))],
)
def test_commands_let_the_decoder_itself_refuse_what_a_header_may_hide(
    tmp_path: Path, arguments: list[str], size: tuple[int, int]
) -> None:
    """The commands fail, but only once they have loaded OpenCV."""
    (tmp_path / "i.jpg").write_bytes(jpeg(*size))
    script = (
        "import sys; from ucc.cli import main; assert main(sys.argv[1:]) == 1; assert 'cv2' in sys.modules\n"
        "import cv2; cv2.imread('i.jpg')\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[0].startswith("error: absent")
    assert "cv2.error" in done.stderr
    assert "CV_IO_MAX_IMAGE_PIXELS" in done.stderr
