"""Losses against slow NumPy, pixel by pixel, written from the formulas of the paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ucc.config import OhemParams
from ucc.losses import (
    IGNORE,
    mean_cross_entropy,
    mean_squared_distance,
    ohem_cross_entropy,
    pixel_cross_entropy,
    scaled_min_kept,
    weighted_mean,
)
from ucc.methods.base import labeled_loss

Floats = NDArray[np.float64]


def random_case(seed: int, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    """Logits (2, 4, 5, 6) and labels (2, 5, 6), a share of which is ignored."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (2, 5, 6))
    labels[rng.random(labels.shape) < ignored] = IGNORE
    return torch.tensor(rng.normal(0, 2, (2, 4, 5, 6)), dtype=torch.float32), torch.from_numpy(labels)


def true_class_probabilities(logits: Tensor, target: Tensor) -> list[float]:
    """p(true class) of each labelled pixel, in reading order."""
    found = []
    images, _, height, width = logits.shape
    for b in range(images):
        for y in range(height):
            for x in range(width):
                label = int(target[b, y, x])
                if label == IGNORE:
                    continue
                exponentials = [math.exp(float(score)) for score in logits[b, :, y, x]]
                found.append(exponentials[label] / sum(exponentials))
    return found


def slow_ohem(logits: Tensor, target: Tensor, threshold: float, min_kept: int) -> float:
    """Mean of -log p over pixels with p <= max(threshold, the min_kept-th smallest p)."""
    ordered = sorted(true_class_probabilities(logits, target))
    bound = max(threshold, ordered[min(min_kept, len(ordered)) - 1])
    kept = [-math.log(p) for p in ordered if p <= bound + 1e-9]
    return sum(kept) / len(kept) if kept else 0.0


def slow_weighted_mean(values: Floats, weights: Floats) -> float:
    """Eq. 12 as decision C reads it: sum(u * l) / sum(u) of each image, then the mean over the batch."""
    per_image = []
    for image_values, image_weights in zip(values, weights, strict=True):
        numerator = denominator = 0.0
        for value, weight in zip(image_values.flat, image_weights.flat, strict=True):
            numerator += weight * value
            denominator += weight
        per_image.append(numerator / denominator if denominator > 0 else 0.0)
    return sum(per_image) / len(per_image)


@pytest.mark.parametrize("seed", range(3))
def test_the_cross_entropy_of_a_pixel_is_minus_the_log_of_its_true_class_probability(seed: int) -> None:
    logits, target = random_case(seed)
    losses = pixel_cross_entropy(logits, target)
    expected = [-math.log(p) for p in true_class_probabilities(logits, target)]
    assert losses.shape == target.shape
    np.testing.assert_allclose(losses[target != IGNORE].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert (losses[target == IGNORE] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_runs_over_the_labelled_pixels_of_the_whole_batch(seed: int) -> None:
    logits, target = random_case(seed)
    target[0, :4] = IGNORE  # few labelled pixels here, many there: a mean of image means would differ
    expected = [-math.log(p) for p in true_class_probabilities(logits, target)]
    assert mean_cross_entropy(logits, target).item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


@pytest.mark.parametrize("loss", [mean_cross_entropy, lambda *a: ohem_cross_entropy(*a, threshold=0.7, min_kept=3)])
def test_a_batch_without_labelled_pixels_costs_nothing_and_has_finite_gradients(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    value = loss(logits, torch.full((2, 3, 3), IGNORE))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("loss", [mean_cross_entropy, lambda *a: ohem_cross_entropy(*a, threshold=0.7, min_kept=3)])
def test_ignored_pixels_receive_no_gradient_and_labelled_ones_do(loss) -> None:  # type: ignore[no-untyped-def]
    logits, target = random_case(0)
    logits.requires_grad_()
    loss(logits, target).backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum(dim=1) > 0
    assert not moved[target == IGNORE].any()
    assert moved[target != IGNORE].any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("min_kept", [1, 7, 20, 10_000])
def test_ohem_averages_the_pixels_below_the_threshold_and_at_least_min_kept(
    seed: int, threshold: float, min_kept: int
) -> None:
    logits, target = random_case(seed)
    expected = slow_ohem(logits, target, threshold, min_kept)
    assert ohem_cross_entropy(logits, target, threshold, min_kept).item() == pytest.approx(expected, rel=1e-5)


def two_class_logits(probabilities: list[float]) -> Tensor:
    """Logits (1, 2, 1, n) that give class 0 these probabilities."""
    odds = torch.tensor([math.log(p / (1 - p)) for p in probabilities])
    return torch.stack([odds, torch.zeros_like(odds)]).view(1, 2, 1, -1)


def test_ohem_leaves_easy_pixels_out_once_enough_are_hard() -> None:
    loss = ohem_cross_entropy(two_class_logits([0.2, 0.5, 0.8, 0.9]), torch.zeros(1, 1, 4).long(), 0.7, 1)
    assert loss.item() == pytest.approx(-(math.log(0.2) + math.log(0.5)) / 2, rel=1e-5)


def test_ohem_keeps_the_hardest_where_all_are_above_the_threshold() -> None:
    loss = ohem_cross_entropy(two_class_logits([0.95, 0.8, 0.9, 0.85]), torch.zeros(1, 1, 4).long(), 0.7, 2)
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.85)) / 2, rel=1e-5)


def test_ohem_keeps_all_pixels_that_tie_with_the_last_one_kept() -> None:
    loss = ohem_cross_entropy(two_class_logits([0.8, 0.9, 0.9, 0.9, 0.99]), torch.zeros(1, 1, 5).long(), 0.7, 2)
    assert loss.item() == pytest.approx(-(math.log(0.8) + 3 * math.log(0.9)) / 4, rel=1e-5)


def test_ohem_never_counts_ignored_pixels_among_those_kept() -> None:
    target = torch.tensor([[[IGNORE, IGNORE, 0, 0]]])
    loss = ohem_cross_entropy(two_class_logits([0.01, 0.02, 0.8, 0.9]), target, 0.7, 1)
    assert loss.item() == pytest.approx(-math.log(0.8), rel=1e-5)


def test_ohem_with_a_threshold_of_one_is_the_plain_mean() -> None:
    logits, target = random_case(5)
    torch.testing.assert_close(ohem_cross_entropy(logits, target, 1.0, 1), mean_cross_entropy(logits, target))


def test_min_kept_counts_per_image_and_shrinks_with_crops_below_800_by_800() -> None:
    assert scaled_min_kept(50_000, images=1, height=800, width=800) == 50_000
    assert scaled_min_kept(50_000, images=4, height=800, width=800) == 200_000
    assert scaled_min_kept(50_000, images=1, height=400, width=400) == 12_500
    assert scaled_min_kept(50_000, images=3, height=512, width=512) == 3 * round(50_000 * 512**2 / 800**2)


def test_min_kept_does_not_grow_with_larger_crops_and_stays_above_zero() -> None:
    assert scaled_min_kept(50_000, images=2, height=1024, width=2048) == 100_000
    assert scaled_min_kept(1, images=2, height=16, width=16) == 2


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12),
    st.lists(st.floats(0, 10, width=32), min_size=12, max_size=12),
)
def test_the_weighted_mean_is_taken_over_each_image_and_then_over_the_batch(
    weights: list[float], values: list[float]
) -> None:
    # Decision C guards sums below 1e-6; weights are at least 1/C where they are not 0.
    w = np.where(np.array(weights) < 0.05, 0, weights).reshape(3, 2, 2)
    v = np.array(values).reshape(3, 2, 2)
    given_weights = torch.tensor(w, dtype=torch.float32)
    result = weighted_mean(torch.tensor(v, dtype=torch.float32), given_weights, given_weights)
    assert result.item() == pytest.approx(slow_weighted_mean(v, w), rel=1e-4, abs=1e-6)


def test_an_image_with_few_weighted_pixels_counts_as_much_as_one_with_many() -> None:
    values = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), 3.0)])
    weights = torch.ones(2, 4, 4)
    weights[1] = 0
    weights[1, 0, 0] = 0.5
    assert weighted_mean(values, weights, weights).item() == pytest.approx(2.0)


def test_an_image_without_weight_contributes_zero_and_no_gradient() -> None:
    values = torch.full((2, 3, 3), 5.0, requires_grad=True)
    weights = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)])
    result = weighted_mean(values, weights, weights)
    result.backward()
    assert result.item() == pytest.approx(2.5)
    assert values.grad is not None
    assert (values.grad[0] == 0).all()
    torch.testing.assert_close(values.grad[1], torch.full((3, 3), 0.5 / 9))


def test_dividing_by_the_pixels_lets_small_weights_lower_the_loss() -> None:
    values, weights, seen = torch.full((1, 2, 2), 4.0), torch.full((1, 2, 2), 0.25), torch.ones(1, 2, 2)
    seen[0, 0, 0] = weights[0, 0, 0] = 0
    assert weighted_mean(values, weights, seen).item() == pytest.approx(1.0)
    assert weighted_mean(values, weights, weights).item() == pytest.approx(4.0)


def test_the_squared_distance_is_a_mean_over_the_pixels_that_the_caller_counts() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.random((2, 4, 5, 6)), rng.random((2, 4, 5, 6))
    mask = rng.random((2, 5, 6)) < 0.5
    total = sum(np.mean((one[b, :, y, x] - other[b, :, y, x]) ** 2) for b, y, x in np.argwhere(mask))
    learned, target = (torch.tensor(values, requires_grad=True) for values in (one, other))
    for pixels in (mask.sum(), mask.size):
        result = mean_squared_distance(learned, target, torch.from_numpy(mask), over=torch.tensor(pixels))
        assert result.item() == pytest.approx(total / pixels)
    result.backward()
    assert target.grad is None


def test_the_labeled_loss_keeps_min_kept_pixels_of_each_image() -> None:
    logits, target = random_case(0, ignored=0)
    # Of 800 x 800 pixels that many are 5 of the 30 that these images have.
    mining = OhemParams(enabled=True, threshold=0.0, min_kept=5 * 800 * 800 // 30)
    ten, five = (ohem_cross_entropy(logits, target, 0.0, kept) for kept in (10, 5))
    assert ten != five
    assert torch.equal(labeled_loss([logits, logits], target, mining), 2 * ten)
