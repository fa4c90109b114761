"""The score and the choice of `ucc rank`, against slow NumPy and against what farthest-first promises."""

from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ucc.ranking import choose, describe, score

FEW = st.integers(0, 4).map(float)  # few values, so that ties are common
NONE = np.zeros((0, 2), np.float32)
POINTS = st.integers(1, 8).flatmap(lambda n: arrays(np.float32, (n, 2), elements=st.integers(-3, 3).map(float)))


def slow_rank(values: np.ndarray, index: int) -> float:
    """The share of the others with a smaller value, the same value counting half."""
    others = [value for place, value in enumerate(values) if place != index]
    if not others:
        return 0.0
    return sum(1.0 if other < values[index] else 0.5 if other == values[index] else 0.0 for other in others) / len(
        others
    )


def slow_choice(
    scores: np.ndarray, points: np.ndarray, labeled: np.ndarray, count: int, spread: bool
) -> tuple[list[int], dict[int, float]]:
    """Each time, of all images that are left, the one with the largest score times distance."""
    order: list[int] = []
    distances: dict[int, float] = {}

    def distance(index: int) -> float:
        around = [*labeled, *(points[chosen] for chosen in order)]
        return min((float(np.linalg.norm(points[index].astype(float) - other)) for other in around), default=np.inf)

    while len(order) < min(count, len(points)):
        best: tuple[float, float, int] | None = None
        for index in range(len(points)):
            if index in order:
                continue
            far = distance(index)
            gain = scores[index] * far if spread and np.isfinite(far) else scores[index]
            if best is None or (gain, scores[index]) > best[:2]:
                best = (gain, scores[index], index)
        assert best is not None
        distances[best[2]] = distance(best[2])
        order.append(best[2])
    return order, distances | {index: distance(index) for index in range(len(points)) if index not in order}


@given(values=st.lists(st.tuples(FEW, FEW), min_size=1, max_size=8), two_heads=st.booleans())
def test_the_score_is_the_mean_of_the_ranks_of_uncertainty_and_disagreement(
    values: list[tuple[float, float]], two_heads: bool
) -> None:
    uncertainty, disagreement = np.array(values).T
    found = score(uncertainty, disagreement if two_heads else None)
    for index in range(len(values)):
        expected = slow_rank(uncertainty, index)
        if two_heads:
            expected = (expected + slow_rank(disagreement, index)) / 2
        assert found[index] == pytest.approx(expected)


@given(data=st.data(), points=POINTS, count=st.integers(1, 9), spread=st.booleans(), labeled=st.integers(0, 2))
def test_the_choice_is_the_greedy_one(
    data: st.DataObject, points: np.ndarray, count: int, spread: bool, labeled: int
) -> None:
    scores = data.draw(arrays(np.float64, len(points), elements=FEW))
    known = data.draw(arrays(np.float32, (labeled, 2), elements=st.integers(-3, 3).map(float)))
    found = choose(scores, points, known, count, spread)
    order, distances = slow_choice(scores, points, known, count, spread)
    assert found.order == order
    np.testing.assert_allclose(found.distances, [distances[index] for index in range(len(points))])


@settings(deadline=None)
@given(points=POINTS, count=st.integers(1, 4))
def test_images_of_one_score_are_covered_within_twice_the_best_radius(points: np.ndarray, count: int) -> None:
    """What farthest-first promises for k-center (Gonzalez 1985)."""
    count = min(count, len(points))
    between = np.linalg.norm(points[:, None].astype(float) - points[None], axis=-1)

    def radius(centers: list[int]) -> float:
        return float(between[:, centers].min(axis=1).max())

    best = min(radius(list(centers)) for centers in combinations(range(len(points)), count))
    assert radius(choose(np.ones(len(points)), points, NONE, count).order) <= 2 * best + 1e-9


@given(data=st.data(), points=POINTS)
def test_copies_of_what_is_labelled_or_chosen_come_last(data: st.DataObject, points: np.ndarray) -> None:
    scores = data.draw(arrays(np.float64, len(points), elements=st.integers(1, 4).map(float)))
    order, distances = choose(scores, points, points[:1], len(points))
    is_copy = [distances[index] == 0 for index in order]
    assert is_copy == sorted(is_copy)
    assert sum(is_copy) == len(points) - len(np.unique(points, axis=0)) + 1


def test_without_spread_the_score_alone_decides_and_ties_go_to_the_earlier_image() -> None:
    points = np.zeros((4, 2), np.float32)
    points[2] = 100
    assert choose(np.array([0.5, 0.9, 0.1, 0.5]), points, NONE, 4, spread=False).order == [1, 0, 3, 2]
    assert choose(np.array([0.5, 0.9, 0.1, 0.5]), points, NONE, 2).order == [1, 2]


def test_the_distance_of_two_plain_images_is_their_colour_difference() -> None:
    """CIE 1976 from black to mid grey, all of it lightness: L* = 116 (Y / Yn)^(1/3) - 16."""
    level = 119
    linear = ((level / 255 + 0.055) / 1.055) ** 2.4
    lightness = 116 * linear ** (1 / 3) - 16
    black, grey = (describe(np.full((30, 50, 3), value, np.uint8)) for value in (0, level))
    assert np.linalg.norm(grey - black) == pytest.approx(lightness, rel=0.01)  # OpenCV's sRGB is a table


def test_one_scene_at_two_sizes_is_nearer_than_two_scenes() -> None:
    rng = np.random.default_rng(0)
    one, other = (cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (160, 120)) for _ in range(2))
    smaller = cv2.resize(one, (80, 60), interpolation=cv2.INTER_AREA)
    assert np.linalg.norm(describe(one) - describe(smaller)) < np.linalg.norm(describe(one) - describe(other)) / 10
