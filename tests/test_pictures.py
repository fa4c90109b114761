"""Index maps with palette, overlays and heat maps, and the PNGs they are written as."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from brightest_model import COLORS
from PIL import Image as PillowImage

from ucc.pictures import draw_overlay, draw_uncertainty, encode_indexed_png, encode_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (13, 29), (13, 29, 3), (40, 1, 3)], ids=str)
@pytest.mark.parametrize("strip", [1, 100, 2**20])
def test_a_png_holds_the_pixels_whatever_the_strips(
    shape: tuple[int, ...], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.pictures.STRIP_PIXELS", strip)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with PillowImage.open(BytesIO(encode_png(pixels))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("count", [1, 2, 5, 17, 256])
def test_an_indexed_png_holds_indices_and_palette_for_any_number_of_classes(count: int) -> None:
    rng = np.random.default_rng(count)
    classes = rng.integers(0, count, (13, 29), dtype=np.uint8)
    colors = rng.integers(0, 256, (count, 3))
    encoded = encode_indexed_png(classes, [(int(r), int(g), int(b)) for r, g, b in colors])
    painted = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(painted[..., ::-1], colors[classes])


def test_the_heat_map_is_dark_where_certain_and_brightest_where_all_classes_are_alike() -> None:
    heat = draw_uncertainty(np.array([[0.0, 0.25, 0.5, 0.75]], np.float32), num_classes=4).astype(int)
    brightness = heat.sum(axis=2)[0]
    assert brightness[0] < 20
    assert np.all(np.diff(brightness) > 0)
    # The scale is absolute: the same value has the same colour whatever else is in the picture.
    assert np.array_equal(draw_uncertainty(np.array([[0.25]], np.float32), num_classes=4)[0, 0], heat[0, 1])


def test_an_overlay_keeps_the_image_visible_under_the_class_colors() -> None:
    overlay = draw_overlay(np.full((1, 1, 3), 100, np.uint8), np.array([[2]], np.uint8), COLORS)
    assert overlay[0, 0].tolist() == [75, 80, 160]
