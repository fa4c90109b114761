import colorsys
import pickle
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ucc.config import ViewsParams
from ucc.data.augment import PADDING_COLOR, Geometry, Pixels, StrongView
from ucc.models.segmenter import IMAGENET_MEAN, IMAGENET_STD

VIEWS = ViewsParams(
    crop=[32, 48],
    flip_probability=0.5,
    scale_probability=0.5,
    scale_range=[0.5, 2.0],
    strong_operations=[1, 3],
    strong_strength=1.0,
    strong_per_head=True,
    photometric_first=False,
)
SHAPE = (60, 90)
OPERATIONS = (
    "channel shuffle",
    "color jitter",
    "inversion",
    "coarse dropout",
    "JPEG",
    "solarize",
    "salt and pepper",
    "Gaussian noise",
    "equalize",
)
DROPOUT = OPERATIONS.index("coarse dropout")
ALWAYS = range(20)


def picture(height: int = 60, width: int = 90) -> Pixels:
    """Smooth enough for JPEG, dark enough for equalisation to show, with bright spots for solarisation."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 2, columns, 40 + rows // 2], axis=-1).astype(np.uint8)
    image[5:15, 5:15] = (250, 240, 200)
    return image


def draws(views: ViewsParams, count: int = 400, crop_only: bool = False) -> list[Geometry]:
    return [Geometry.draw(SHAPE, views, np.random.default_rng(seed), crop_only) for seed in range(count)]


def test_image_and_mask_go_through_the_same_geometry_without_a_shift() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=-1)
    differences = []
    for geometry in draws(VIEWS, 200):
        window, valid = geometry.image(image).astype(int), geometry.valid() == 1
        for mask, channel in ((rows, 0), (columns, 1)):
            difference = (window[..., channel] - geometry.mask(mask))[valid]
            assert np.abs(difference).max() <= 1
            direction = -1 if geometry.flip and channel == 1 else 1
            differences.append(direction * difference.mean())
    assert abs(np.mean(differences)) < 0.05


def test_padding_is_marked_in_mask_and_valid_pixels_and_nowhere_else() -> None:
    views = replace(VIEWS, crop=[96, 128], scale_range=[0.5, 1.5])
    for geometry in draws(views, 50):
        valid = geometry.valid() == 1
        mask = geometry.mask(np.ones(SHAPE, np.uint8))
        assert valid.sum() == min(96, geometry.size[0]) * min(128, geometry.size[1])
        np.testing.assert_array_equal(mask, np.where(valid, 1, 255))
        image = geometry.image(np.zeros((*SHAPE, 3), np.uint8))
        np.testing.assert_array_equal(image, np.where(valid[..., None], 0, np.array(PADDING_COLOR)))


def test_small_images_lie_anywhere_in_the_window() -> None:
    corners = {geometry.corner for geometry in draws(replace(VIEWS, crop=[96, 128]))}
    assert len({row for row, _ in corners}) > 20
    assert len({column for _, column in corners}) > 20


def test_flip_and_scale_happen_each_with_their_own_probability() -> None:
    drawn = draws(VIEWS)
    scaled = [geometry.size != SHAPE for geometry in drawn]
    flipped = [geometry.flip for geometry in drawn]
    assert 0.4 < np.mean(scaled) < 0.6
    assert 0.4 < np.mean(flipped) < 0.6
    assert 0.15 < np.mean(np.logical_and(scaled, flipped)) < 0.35
    heights = [geometry.size[0] for geometry in drawn]
    assert 30 <= min(heights) < 35
    assert 110 < max(heights) <= 120


def test_probability_zero_leaves_only_the_crop() -> None:
    drawn = draws(replace(VIEWS, flip_probability=0.0, scale_probability=0.0), 100)
    assert all(geometry.size == SHAPE and not geometry.flip for geometry in drawn)
    assert len({geometry.corner for geometry in drawn}) > 50


def test_crop_only_neither_flips_nor_scales() -> None:
    assert all(geometry.size == SHAPE and not geometry.flip for geometry in draws(VIEWS, 100, crop_only=True))


def test_the_window_shows_the_flipped_image_at_its_corner() -> None:
    geometry = Geometry(flip=True, size=SHAPE, corner=(7, 11), crop=(32, 48))
    np.testing.assert_array_equal(geometry.image(picture()), picture()[:, ::-1][7:39, 11:59])


def test_there_are_nine_operations() -> None:
    assert len(StrongView((1, 3), 1.0).pool) == len(OPERATIONS)


@pytest.mark.parametrize("index", range(9), ids=OPERATIONS)
@pytest.mark.parametrize("size", [(60, 90), (16, 16)])
def test_each_operation_changes_the_picture_and_depends_on_its_seed_alone(index: int, size: tuple[int, int]) -> None:
    first, second = StrongView((1, 1), 1.0).pool[index], StrongView((1, 1), 1.0).pool[index]
    image, valid = picture(*size), np.ones(size, np.uint8)
    untouched = image.copy()
    changed = 0
    for seed in ALWAYS:
        result, kept = first(image, valid, seed)
        again, kept_again = second(image, valid, seed)
        np.testing.assert_array_equal(result, again)
        np.testing.assert_array_equal(kept, kept_again)
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        assert kept.shape == size
        changed += bool((result != image).any())
        second(image, valid, seed + 1000)  # draws in between make no difference
    assert changed >= len(ALWAYS) / 2
    np.testing.assert_array_equal(image, untouched)


@pytest.mark.parametrize("index", [i for i in range(9) if i != DROPOUT], ids=lambda i: OPERATIONS[i])
def test_only_dropout_makes_pixels_invalid(index: int) -> None:
    valid = np.random.default_rng(0).integers(0, 2, SHAPE, dtype=np.uint8)
    for seed in ALWAYS:
        np.testing.assert_array_equal(StrongView((1, 1), 1.0).pool[index](picture(), valid, seed)[1], valid)


def test_dropout_greys_the_pixels_that_it_makes_invalid_and_no_others() -> None:
    drop = StrongView((1, 1), 1.0).pool[DROPOUT]
    for seed in ALWAYS:
        image, valid = drop(picture(), np.ones(SHAPE, np.uint8), seed)
        gone = valid == 0
        assert 0.01 * gone.size <= gone.sum() <= 3 * 0.09 * gone.size
        np.testing.assert_array_equal(image, np.where(gone[..., None], np.array(PADDING_COLOR), picture()))


def test_the_number_of_operations_is_uniform_and_they_are_drawn_with_replacement() -> None:
    view = StrongView((1, 3), 1.0)
    called: list[int] = []

    def note(index: int, image: Pixels, valid: Pixels) -> tuple[Pixels, Pixels]:
        called.append(index)
        return image, valid

    view.pool = [lambda image, valid, _, index=index: note(index, image, valid) for index in range(9)]
    sequences = []
    for seed in range(600):
        called.clear()
        view(picture(), np.ones(SHAPE, np.uint8), np.random.default_rng(seed))
        sequences.append(tuple(called))
    lengths = [len(sequence) for sequence in sequences]
    assert set(lengths) == {1, 2, 3}
    assert all(150 < lengths.count(length) < 250 for length in (1, 2, 3))
    counts = np.bincount([index for sequence in sequences for index in sequence], minlength=9)
    assert counts.min() > 0.7 * counts.mean()
    assert any(len(set(sequence)) < len(sequence) for sequence in sequences)


def test_the_strong_view_is_a_function_of_its_generator() -> None:
    one, other = StrongView((3, 3), 1.0), StrongView((3, 3), 1.0)
    for seed in ALWAYS:
        first = one(picture(), np.ones(SHAPE, np.uint8), np.random.default_rng(seed))
        second = other(picture(), np.ones(SHAPE, np.uint8), np.random.default_rng(seed))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("index", range(9), ids=OPERATIONS)
def test_strength_zero_changes_nothing(index: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    result, kept = StrongView((1, 1), 0.0).pool[index](image, np.ones(SHAPE, np.uint8), 3)
    np.testing.assert_array_equal(result, image)
    assert kept.all()


@pytest.mark.parametrize("index", range(9), ids=OPERATIONS)
def test_less_strength_changes_the_picture_less(index: int) -> None:
    def change(strength: float) -> float:
        operation = StrongView((1, 1), strength).pool[index]
        results = [operation(picture(), np.ones(SHAPE, np.uint8), seed)[0].astype(float) for seed in range(60)]
        return float(np.mean([np.abs(result - picture()).mean() for result in results]))

    assert change(0.3) < change(1.0)


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("index", range(9), ids=OPERATIONS)
def test_no_operation_takes_the_picture_away(index: int, strength: float) -> None:
    operation = StrongView((1, 1), strength).pool[index]
    contrasts = [operation(picture(), np.ones(SHAPE, np.uint8), seed)[0].std() for seed in ALWAYS]
    assert min(contrasts) > 0.3 * picture().std()


def test_a_resized_mask_holds_no_class_that_is_not_in_it() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 200, 255], np.uint8), SHAPE)
    for geometry in draws(VIEWS, 50):
        assert set(np.unique(geometry.mask(mask))) <= {0, 200, 255}


def test_images_are_resized_bilinearly() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[:, 1] = 100
    found = Geometry(flip=False, size=(4, 4), corner=(0, 0), crop=(4, 4)).image(image)
    assert found[..., 0].tolist() == [[0, 25, 75, 100]] * 4


def test_height_and_width_are_scaled_alike_and_uniformly_over_the_range() -> None:
    scales = []
    for geometry in draws(replace(VIEWS, scale_probability=1.0)):
        vertical, horizontal = (size / length for size, length in zip(geometry.size, SHAPE, strict=True))
        assert vertical == pytest.approx(horizontal, abs=0.02)
        scales.append(horizontal)
    # Four standard deviations of the mean of 400 numbers that are uniform on 0.5..2.
    assert np.mean(scales) == pytest.approx(1.25, abs=4 * 1.5 / np.sqrt(12 * 400))


def test_each_probability_is_that_of_its_own_name() -> None:
    assert all(g.flip and g.size == SHAPE for g in draws(replace(VIEWS, flip_probability=1.0, scale_probability=0.0)))
    assert not any(
        g.flip or g.size == SHAPE for g in draws(replace(VIEWS, flip_probability=0.0, scale_probability=1.0), 20)
    )


@pytest.mark.parametrize("margin", [2, -2], ids=["larger", "smaller"])
def test_crops_reach_every_border(margin: int) -> None:
    views = replace(VIEWS, flip_probability=0.0, scale_probability=0.0)
    shape = views.crop[0] + margin, views.crop[1] + margin
    corners = {Geometry.draw(shape, views, np.random.default_rng(seed)).corner for seed in range(200)}
    places = range(min(0, margin), max(0, margin) + 1)
    assert corners == {(top, left) for top in places for left in places}


def test_padding_is_about_zero_to_the_network() -> None:
    assert np.abs((np.array(PADDING_COLOR) / 255 - IMAGENET_MEAN) / IMAGENET_STD).max() < 0.02


@pytest.mark.parametrize("name", ["channel shuffle", "equalize"])
@pytest.mark.parametrize("strength", [0.25, 0.75])
def test_what_has_no_magnitude_is_mixed_in_by_the_strength(name: str, strength: float) -> None:
    index, valid = OPERATIONS.index(name), np.ones(SHAPE, np.uint8)
    for seed in ALWAYS:
        whole = StrongView((1, 1), 1.0).pool[index](picture(), valid, seed)[0].astype(float)
        mixed = StrongView((1, 1), strength).pool[index](picture(), valid, seed)[0]
        np.testing.assert_allclose(mixed, strength * whole + (1 - strength) * picture(), atol=1)


def test_every_operation_of_every_view_gets_a_seed_of_its_own() -> None:
    view, seeds = StrongView((3, 3), 1.0), []

    def note(image: Pixels, valid: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        seeds.append(seed)
        return image, valid

    view.pool = [note] * 9
    for number in ALWAYS:
        view(picture(), np.ones(SHAPE, np.uint8), np.random.default_rng(number))
    assert len(set(seeds)) == len(seeds) == 3 * len(ALWAYS)


def magnitudes(name: str, image: Pixels, measure: Callable[[Pixels], float], strength: float = 1.0) -> list[float]:
    operation, valid = StrongView((1, 1), strength).pool[OPERATIONS.index(name)], np.ones(image.shape[:2], np.uint8)
    return [measure(operation(image, valid, seed)[0]) for seed in range(200)]


GREY = np.full((64, 64, 3), 100, np.uint8)
EDGE = np.where(np.arange(64)[:, None, None] < 32, 60, 140) * np.ones((64, 64, 3))
RAMP = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 16, 3)).copy()
COLOR = np.full((16, 16, 3), (100, 60, 60), np.uint8)


def hue(image: Pixels) -> float:
    """How far the hue is from red, in degrees."""
    turn = colorsys.rgb_to_hsv(*image[0, 0] / 255)[0]
    return 360 * min(turn, 1 - turn)


def contrast(image: Pixels) -> float:
    return float((image[-1, 0, 0] - float(image[0, 0, 0])) / image.mean() / 0.8)


def quality(image: Pixels) -> float:
    """The one with which OpenCV writes this very picture."""
    for number in range(101):
        if (cv2.imdecode(cv2.imencode(".jpg", picture(), (cv2.IMWRITE_JPEG_QUALITY, number))[1], -1) == image).all():
            return number
    return -1


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize(
    ("name", "image", "measure", "neutral", "ends"),
    [
        ("color jitter", GREY, lambda image: image.mean() / 100, 1, (0.5, 1.5)),
        ("color jitter", EDGE.astype(np.uint8), contrast, 1, (0.5, 1.5)),
        ("color jitter", COLOR, hue, 0, (0, 90)),
        ("solarize", RAMP, lambda image: float(np.argmax(image[:, 0, 0] != np.arange(256))) / 255 or 1.0, 1, (0.5, 1)),
        ("salt and pepper", GREY, lambda image: float((image != GREY).any(axis=2).mean()), 0, (0.01, 0.05)),
        ("Gaussian noise", GREY, lambda image: float((image - GREY.astype(float)).std()) / 255, 0, (0.02, 0.1)),
        ("JPEG", picture(), quality, 100, (20, 80)),
    ],
    ids=["brightness", "contrast", "hue", "solarize", "salt and pepper", "Gaussian noise", "JPEG"],
)
def test_magnitudes_fill_the_range_that_is_documented_and_shrink_with_the_strength(
    name: str,
    image: Pixels,
    measure: Callable[[Pixels], float],
    neutral: float,
    ends: tuple[float, float],
    strength: float,
) -> None:
    found = magnitudes(name, image, measure, strength)
    low, high = (neutral + strength * (end - neutral) for end in ends)
    span = high - low
    assert low - 0.05 * span <= min(found) < low + 0.1 * span
    assert high - 0.1 * span < max(found) <= high + 0.05 * span


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_pictures_are_inverted_as_often_as_the_strength_says_and_wholly(strength: float) -> None:
    found = magnitudes("inversion", GREY, lambda image: float(image[0, 0, 0]), strength)
    assert set(found) <= {100, 155}
    # Four standard deviations of a share of 200.
    assert np.mean(np.array(found) == 155) == pytest.approx(strength, abs=4 * np.sqrt(strength * (1 - strength) / 200))


def test_a_view_that_is_sent_to_another_process_keeps_its_number_and_strength() -> None:
    sent = pickle.loads(pickle.dumps(StrongView((2, 3), 0.5)))
    assert (sent.operations, sent.strength) == ((2, 3), 0.5)


def test_dropout_cuts_one_to_three_rectangles() -> None:
    drop = StrongView((1, 1), 1.0).pool[DROPOUT]
    gone = [(drop(picture(), np.ones(SHAPE, np.uint8), seed)[1] == 0).astype(np.uint8) for seed in range(60)]
    assert {cv2.connectedComponents(holes)[0] - 1 for holes in gone} == {1, 2, 3}
