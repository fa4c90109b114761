"""Do the labelled images look like the unlabelled ones? The two-sample Kolmogorov-Smirnov distance says how far not.

The method's copy-paste exists because a few labelled images represent the others badly; this is how badly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from ucc.data.validation.picture import DIGITS, STATISTICS

# For all statistics together (Bonferroni): nine tests at 0.01 each would warn of one random draw in eleven.
SIGNIFICANCE = 0.01 / len(STATISTICS)
# Above this many images the exact distribution takes long, and the asymptotic one has become exact enough.
EXACT_UP_TO = 1000
BINS = 24


@dataclass(frozen=True)
class Drift:
    """One statistic of `STATISTICS`, labelled against unlabelled images.

    `distance` is the largest difference between the two cumulative distributions, 0..1; `p_value` how probable it is
    to be as large by chance, if images are labelled at random. `labeled_shares` and `unlabeled_shares` are histograms
    over `BINS` equal bins from `low` to `high`, each of sum 1.
    """

    statistic: str
    distance: float
    p_value: float
    labeled_mean: float
    unlabeled_mean: float
    low: float
    high: float
    labeled_shares: Sequence[float]
    unlabeled_shares: Sequence[float]

    @property
    def counted(self) -> float:
        """The distance if chance does not explain it, else 0: of a few images it is large in any case."""
        return self.distance if self.p_value < SIGNIFICANCE else 0.0


def measure_drift(facts: pd.DataFrame) -> list[Drift]:
    """The drift of each of `STATISTICS`; empty if either set has no image that can be read."""
    readable = facts[facts["brightness"].notna()]
    labeled, unlabeled = (readable[readable["subset"] == subset] for subset in ("labeled", "unlabeled"))
    if labeled.empty or unlabeled.empty:
        return []
    return [_drift(name, labeled[name], unlabeled[name]) for name in STATISTICS]


def _drift(name: str, labeled: pd.Series, unlabeled: pd.Series) -> Drift:
    method = "exact" if max(len(labeled), len(unlabeled)) <= EXACT_UP_TO else "asymp"
    test = ks_2samp(labeled, unlabeled, method=method)
    low, high = min(labeled.min(), unlabeled.min()), max(labeled.max(), unlabeled.max())
    return Drift(
        statistic=name,
        distance=_rounded(test.statistic),
        p_value=_rounded(test.pvalue),
        labeled_mean=_rounded(labeled.mean()),
        unlabeled_mean=_rounded(unlabeled.mean()),
        low=_rounded(low),
        high=_rounded(high),
        labeled_shares=_histogram(labeled, low, high),
        unlabeled_shares=_histogram(unlabeled, low, high),
    )


def _histogram(values: pd.Series, low: float, high: float) -> list[float]:
    counts, _ = np.histogram(values, bins=BINS, range=(low, high))
    return [_rounded(count / len(values)) for count in counts]


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
