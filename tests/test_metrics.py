import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ucc.metrics import ConfusionMatrix

CLASSES = 4
Mask = NDArray[np.uint8]


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def masks(values: tuple[int, ...]) -> st.SearchStrategy[Mask]:
    return arrays(np.uint8, (3, 2, 5), elements=st.sampled_from(values))


def counted(prediction: Mask, truth: Mask) -> ConfusionMatrix:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    return matrix


def iou_by_pixel_sets(prediction: Mask, truth: Mask) -> list[float]:
    """|P ∩ T| / |P ∪ T| over labelled pixels, from sets of their places."""
    result = []
    for index in range(CLASSES):
        places = [place for place in np.ndindex(truth.shape) if truth[place] != 255]
        true = {place for place in places if truth[place] == index}
        predicted = {place for place in places if prediction[place] == index}
        union = true | predicted
        result.append(len(true & predicted) / len(union) if union else math.nan)
    return result


@settings(deadline=None, max_examples=60)
@given(prediction=masks((0, 1, 2, 3)), truth=masks((0, 1, 2, 3, 255)))
def test_scores_equal_slow_numpy_written_from_the_formulas(prediction: Mask, truth: Mask) -> None:
    matrix = counted(prediction, truth)
    expected = iou_by_pixel_sets(prediction, truth)
    defined = [value for value in expected if not math.isnan(value)]
    labeled = truth != 255
    hits = (prediction == truth)[labeled]
    accuracy = [float(np.mean(hits[truth[labeled] == c])) if np.any(truth == c) else math.nan for c in range(CLASSES)]
    np.testing.assert_allclose(matrix.per_class_iou().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(matrix.per_class_accuracy().numpy(), accuracy, rtol=1e-12)
    np.testing.assert_allclose(matrix.mean_iou(), np.mean(defined) if defined else math.nan, rtol=1e-12)
    np.testing.assert_allclose(matrix.pixel_accuracy(), hits.mean() if hits.size else math.nan, rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(prediction=masks((0, 1, 2, 3)), truth=masks((0, 1, 2, 3, 255)))
def test_updates_image_by_image_give_the_scores_of_the_whole(prediction: Mask, truth: Mask) -> None:
    pieces = ConfusionMatrix(CLASSES)
    for p, t in zip(prediction, truth, strict=True):
        pieces.update(torch.from_numpy(p), torch.from_numpy(t))
    assert torch.equal(pieces.matrix, counted(prediction, truth).matrix)


def test_mean_iou_is_of_the_data_set_and_not_the_mean_over_images() -> None:
    prediction = np.array([[0, 0, 0, 0], [0, 1, 0, 0]], np.uint8)
    truth = np.array([[0, 0, 0, 0], [0, 1, 1, 1]], np.uint8)
    assert counted(prediction, truth).mean_iou() == pytest.approx((5 / 7 + 1 / 3) / 2)
    by_image = [counted(p, t).mean_iou() for p, t in zip(prediction, truth, strict=True)]
    assert np.mean(by_image) == pytest.approx((1 + (1 / 3 + 1 / 3) / 2) / 2)


def test_rows_of_the_matrix_are_the_truth_and_columns_the_prediction() -> None:
    matrix = counted(np.array([2, 2, 1], np.uint8), np.array([0, 0, 1], np.uint8)).matrix
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_class_that_is_only_predicted_counts_as_zero_and_one_that_never_occurs_not_at_all() -> None:
    matrix = counted(np.array([0, 3], np.uint8), np.array([0, 0], np.uint8))
    assert matrix.per_class_iou().nan_to_num(-1).tolist() == [0.5, -1, -1, 0]
    assert matrix.mean_iou() == 0.25


def test_predictions_on_ignored_pixels_do_not_count() -> None:
    matrix = counted(np.array([0, 3, 2], np.uint8), np.array([0, 255, 255], np.uint8))
    assert matrix.mean_iou() == 1
    assert matrix.matrix.sum() == 1


@pytest.mark.usefixtures("deterministic")
def test_counts_are_the_same_with_deterministic_algorithms_on_a_large_image() -> None:
    # The base class would need 2 million x 361 integers here, 6 GB.
    matrix = ConfusionMatrix(19)
    mask = torch.arange(1024 * 2048).reshape(1024, 2048) % 19
    matrix.update(mask, mask)
    assert matrix.matrix.trace() == 1024 * 2048


@pytest.mark.parametrize(
    ("prediction", "truth", "name"), [(0, 4, "truth"), (4, 0, "prediction"), (-1, 0, "prediction")]
)
def test_a_value_that_is_no_class_is_refused(prediction: int, truth: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} holds values from"):
        ConfusionMatrix(CLASSES).update(torch.tensor([prediction]), torch.tensor([truth]))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        ConfusionMatrix(CLASSES).update(torch.zeros(1, 3, dtype=torch.long), torch.zeros(3, dtype=torch.long))


def test_after_a_reset_nothing_is_left_of_earlier_counts() -> None:
    matrix = counted(np.array([0, 1], np.uint8), np.array([1, 1], np.uint8))
    assert matrix.mean_iou() == 0.25
    matrix.reset()
    matrix.update(torch.tensor([2]), torch.tensor([2]))
    assert matrix.mean_iou() == 1
