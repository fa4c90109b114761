from pathlib import Path

import cv2
import numpy as np
import pytest

from ucc.data.images import count_pixels, read_image, read_mask, write_png
from ucc.errors import UserError

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (7, 11, 3), dtype=np.uint8)
MASK = RNG.integers(0, 256, (7, 11), dtype=np.uint8)


def test_pictures_are_written_and_read_as_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 200
    write_png(tmp_path / "red.png", red)
    np.testing.assert_array_equal(read_image(tmp_path / "red.png"), red)
    # OpenCV, which thinks in blue, green, red, is the witness.
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "red.png")), red[..., ::-1])


def test_masks_keep_every_value(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_png(tmp_path / "mask.png", values)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), values)


def test_a_mask_of_less_than_eight_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    assert cv2.imwrite(str(path), np.eye(8, dtype=np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    with pytest.raises(UserError, match=r"mask\.png.*8 bits a pixel, found 1"):
        read_mask(path)


def test_jpeg_files_are_read(tmp_path: Path) -> None:
    smooth = np.full((16, 16, 3), (180, 90, 30), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth[..., ::-1])
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth).max() <= 3


def test_grey_pictures_become_rgb(tmp_path: Path) -> None:
    write_png(tmp_path / "grey.png", MASK)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.stack([MASK] * 3, axis=-1))


def test_photographs_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = 255
    jpeg = cv2.imencode(".jpg", upright)[1].tobytes()
    # Orientation 6: turn by 90 degrees clockwise to see it upright.
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    header = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + header + jpeg[2:])
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == (32, 16, 3)
    assert image[:14].min() > 200
    assert image[18:].max() < 50


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("content", [b"", b"garbage", "half"])
def test_a_damaged_file_is_named(tmp_path: Path, read: object, content: bytes | str) -> None:
    write_png(tmp_path / "whole.png", MASK)
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    assert callable(read)
    with pytest.raises(UserError, match=r"broken\.png: not an image"):
        read(tmp_path / "broken.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: cannot be read \(No such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("pixels", "found"),
    [(PICTURE, r"3 channel\(s\) of uint8"), (MASK.astype(np.uint16) * 256, r"1 channel\(s\) of uint16")],
)
def test_a_mask_of_another_kind_is_refused(tmp_path: Path, pixels: np.ndarray, found: str) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), pixels)
    with pytest.raises(UserError, match=rf"one 8-bit channel of class indices, found {found}"):
        read_mask(tmp_path / "mask.png")


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", PICTURE)
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(ValueError, match="cannot encode"):
        write_png(tmp_path / "a.png", MASK)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def _jpeg(height: int = 64, width: int = 96) -> bytes:
    coarse = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (width, height)))[1].tobytes()


def _with_preview(jpeg: bytes) -> bytes:
    """A JPEG whose header holds another, whole one, as cameras write it."""
    preview = b"Exif\0\0" + _jpeg(8, 8)
    return jpeg[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + jpeg[2:]


@pytest.mark.parametrize("missing", [2, 30, 500])
@pytest.mark.parametrize("wrap", [bytes, _with_preview], ids=["plain", "with a preview"])
def test_a_jpeg_that_was_cut_off_is_refused(tmp_path: Path, missing: int, wrap: object) -> None:
    assert callable(wrap)
    (tmp_path / "cut.jpg").write_bytes(wrap(_jpeg())[:-missing])
    with pytest.raises(
        UserError, match=r"cut\.jpg: not an image that can be decoded, because it is cut off or damaged"
    ):
        read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("trailer", [b"", b"\0" * 40, b"SEFT maker's notes"])
def test_what_follows_the_end_of_a_jpeg_does_not_matter(tmp_path: Path, trailer: bytes) -> None:
    (tmp_path / "whole.jpg").write_bytes(_with_preview(_jpeg()) + trailer)
    assert read_image(tmp_path / "whole.jpg").shape == (64, 96, 3)


@pytest.mark.parametrize("options", [(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_every_kind_of_jpeg_is_read(tmp_path: Path, options: tuple[int, int]) -> None:
    picture = cv2.resize(PICTURE, (96, 64))
    (tmp_path / "a.jpg").write_bytes(cv2.imencode(".jpg", picture, [*options])[1].tobytes())
    assert read_image(tmp_path / "a.jpg").shape == (64, 96, 3)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    jpeg = bytearray(_jpeg())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    (tmp_path / "bomb.jpg").write_bytes(jpeg)
    png = bytearray(cv2.imencode(".png", PICTURE)[1].tobytes())
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(png)
    for name in ("bomb.jpg", "bomb.png"):
        with pytest.raises(UserError, match=rf"{name}: declares 60000x60000 pixels, more than 178,000,000"):
            read_image(tmp_path / name)


def test_a_link_to_nothing_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"link\.png: cannot be read \(a link to a file that does not exist\)"):
        read_image(tmp_path / "link.png")


@pytest.mark.parametrize("content", [b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\0\2", b"\x89PNG\r\n\x1a\n"])
def test_a_header_alone_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: not an image"):
        read_image(tmp_path / "a.png")


def test_pixels_are_counted_by_value() -> None:
    counts = count_pixels(np.array([[0, 2], [2, 255]], np.uint8))
    assert counts.shape == (256,)
    assert {value: int(counts[value]) for value in np.flatnonzero(counts)} == {0: 1, 2: 2, 255: 1}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path, channels: int) -> None:
    pixels = np.zeros((8, 8) if channels == 1 else (8, 8, 3), np.uint8)
    write_png(tmp_path / "bad.png", pixels)
    damaged = bytearray((tmp_path / "bad.png").read_bytes())
    damaged[damaged.index(b"IEND") - 5] ^= 1  # before IEND's length
    (tmp_path / "bad.png").write_bytes(damaged)
    with pytest.raises(UserError, match=r"bad\.png: not an image .* damaged"):
        (read_mask if channels == 1 else read_image)(tmp_path / "bad.png")
