from pathlib import Path

import cv2
import numpy as np
import pytest

from ucc.data.images import read_image, read_mask, write_png
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
