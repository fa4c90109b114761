"""Drift is found where labelled images differ from unlabelled ones, and not where chance divides them."""

import numpy as np
import pandas as pd
import pytest

from ucc.data.validation.drift import BINS, SIGNIFICANCE, Drift, measure_drift
from ucc.data.validation.picture import STATISTICS


def _facts(labeled: int, unlabeled: int, darker: float = 0.0) -> pd.DataFrame:
    count = labeled + unlabeled
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.normal(100, 10, count) for name in STATISTICS})
    table["subset"] = ["labeled"] * labeled + ["unlabeled"] * unlabeled
    table.loc[: labeled - 1, "brightness"] -= darker
    return table


def _figure(facts: pd.DataFrame, statistic: str) -> Drift:
    return next(figure for figure in measure_drift(facts) if figure.statistic == statistic)


def test_the_distance_is_the_largest_gap_of_the_cumulative_distributions() -> None:
    facts = _facts(3, 4)
    facts["brightness"] = [1.0, 2.0, 3.0, 2.5, 3.5, 4.0, 5.0]
    # At 2: 2/3 of the labelled images lie below, none of the others; at 3: all, and a quarter.
    assert _figure(facts, "brightness").distance == pytest.approx(3 / 4)


def test_darkened_images_drift_in_brightness_alone() -> None:
    counted = {figure.statistic: figure.counted for figure in measure_drift(_facts(40, 200, darker=20))}
    assert counted.pop("brightness") > 0.5
    assert set(counted.values()) == {0.0}


def test_a_random_split_does_not_drift() -> None:
    assert [figure.statistic for figure in measure_drift(_facts(40, 200)) if figure.counted] == []


def test_what_two_images_show_may_be_chance() -> None:
    figure = _figure(_facts(2, 5, darker=100), "brightness")
    assert (figure.distance, figure.counted) == (1.0, 0.0)
    assert figure.p_value == pytest.approx(2 / 21, abs=1e-6)  # two of the ways to choose 2 of 7
    assert figure.p_value > SIGNIFICANCE


def test_many_images_are_compared_too() -> None:
    assert _figure(_facts(3, 5000, darker=200), "brightness").counted == 1.0
    assert _figure(_facts(1200, 3000), "brightness").counted == 0.0


def test_histograms_and_means_describe_both_sets() -> None:
    facts = _facts(10, 30)
    figure = _figure(facts, "contrast")
    assert len(figure.labeled_shares) == len(figure.unlabeled_shares) == BINS
    assert sum(figure.labeled_shares) == pytest.approx(1)
    assert figure.labeled_mean == pytest.approx(facts["contrast"][:10].mean(), abs=1e-6)
    assert (figure.low, figure.high) == pytest.approx((facts["contrast"].min(), facts["contrast"].max()), abs=1e-6)


@pytest.mark.parametrize(("labeled", "unlabeled"), [(0, 5), (5, 0)])
def test_there_may_be_nothing_to_compare(labeled: int, unlabeled: int) -> None:
    assert measure_drift(_facts(labeled, unlabeled)) == []


def test_unreadable_images_are_left_out() -> None:
    facts = _facts(4, 6)
    facts.loc[[0, 9], list(STATISTICS)] = np.nan
    assert _figure(facts, "width").labeled_mean == pytest.approx(facts["width"][1:4].mean(), abs=1e-6)
