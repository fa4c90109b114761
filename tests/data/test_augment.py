from dataclasses import replace

import numpy as np
import pytest

from ucc.config import ViewsParams
from ucc.data.augment import PADDING_COLOR, Geometry, Pixels, StrongView

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
