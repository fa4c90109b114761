"""Figures of a picture are the textbook's, and its hash tells what looks alike from what does not."""

import cv2
import numpy as np
import pytest

from ucc.data.images import Image
from ucc.data.validation.picture import HASH_BITS, STATISTICS, perceptual_hash, picture_statistics


def _scene(seed: int, height: int = 240, width: int = 320) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _apart(first: Image, second: Image) -> int:
    hashes = perceptual_hash(first), perceptual_hash(second)
    assert None not in hashes
    return (int(hashes[0] or 0) ^ int(hashes[1] or 0)).bit_count()


def _jpeg(image: Image, quality: int) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


COPIES = {
    "as a JPEG": lambda image: _jpeg(image, 50),
    "at half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger, with other proportions": lambda image: cv2.resize(image, (500, 300)),
    "brighter": lambda image: (image // 2 + 40).astype(np.uint8),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_changed_copy_of_a_picture_has_almost_the_same_hash(copy: object) -> None:
    assert callable(copy)
    assert max(_apart(_scene(seed), np.ascontiguousarray(copy(_scene(seed)))) for seed in range(20)) <= 4


def test_different_pictures_have_hashes_far_apart() -> None:
    apart = [_apart(_scene(first), _scene(second)) for second in range(20) for first in range(second)]
    assert min(apart) > 8
    assert np.mean(apart) == pytest.approx(HASH_BITS / 2, abs=2)


def test_a_mirrored_picture_is_another_one() -> None:
    assert _apart(_scene(0), np.ascontiguousarray(_scene(0)[:, ::-1])) > 8


def test_a_sky_that_only_darkens_downwards_has_no_hash() -> None:
    sky = np.linspace(250, 120, 200).astype(np.uint8).repeat(3 * 300).reshape(200, 300, 3)
    assert perceptual_hash(sky) is None


def test_pictures_without_contrast_have_no_hash() -> None:
    noise = np.random.default_rng(0).integers(-2, 3, (240, 320, 3))
    for level in (0, 120, 255):
        assert perceptual_hash(np.clip(level + noise, 0, 255).astype(np.uint8)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 5), (33, 31), (500, 3)])
def test_pictures_of_any_shape_are_described(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert set(picture_statistics(image)) == set(STATISTICS)
    assert (perceptual_hash(image) is None) == (min(shape) == 1)


def test_statistics_are_those_of_the_pixels() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20] = (200, 100, 50)
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    found = picture_statistics(image)
    assert found["brightness"] == pytest.approx(luma / 2)
    assert found["contrast"] == pytest.approx(luma / 2)
    assert found["saturation"] == pytest.approx(0.75 / 2)
    assert (found["red"], found["green"], found["blue"]) == pytest.approx((4 / 7, 2 / 7, 1 / 7), abs=1e-6)
    assert (found["height"], found["width"], found["aspect"]) == (20, 40, 2)


def test_a_black_picture_has_no_colour() -> None:
    found = picture_statistics(np.zeros((5, 5, 3), np.uint8))
    assert (found["red"], found["green"], found["blue"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-6)
    assert found["saturation"] == found["brightness"] == found["contrast"] == 0


def test_of_large_pictures_a_sample_of_the_pixels_suffices() -> None:
    small, large = picture_statistics(_scene(1, 240, 320)), picture_statistics(_scene(1, 1200, 1600))
    for name in ("brightness", "contrast", "saturation", "red", "green", "blue"):
        assert large[name] == pytest.approx(small[name], rel=0.02)
