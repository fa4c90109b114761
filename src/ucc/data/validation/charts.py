"""Charts of the validation page, as SVG inside HTML."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from ucc.data.palette import Color
from ucc.data.validation.drift import BINS, Drift

SHARE_WIDTH, COUNT_WIDTH = 380, 150
BAR_HEIGHT, BAR_GAP, VALUE_WIDTH = 11, 2, 64
LETTER_WIDTH = 7.5
# Shares further apart than this are drawn on a logarithmic scale, or the small ones would vanish.
LINEAR_UP_TO = 100.0
HISTOGRAM = (210, 44)  # width and height in pixels


def is_logarithmic(shares: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the largest of the shares above zero is more than a hundred times the smallest."""
    positive = _positive(shares)
    return bool(positive) and max(positive) > LINEAR_UP_TO * min(positive)


def class_chart(
    shares: Mapping[str, Mapping[str, float]], labeled_images: Mapping[str, int], colors: Sequence[Color]
) -> str:
    """Bars of each class: its share of the pixels of each subset, and how many labelled images show it.

    Args:
        shares: by subset and class, 0..1.
        labeled_images: by class, in the order of `colors`.
    """
    row_height = max(34, 8 + len(shares) * (BAR_HEIGHT + BAR_GAP))
    left = 32 + LETTER_WIDTH * max(map(len, labeled_images))
    right = left + SHARE_WIDTH + VALUE_WIDTH
    most = max(*labeled_images.values(), 1)
    rows = [
        f'<text x="{left:.0f}" y="13" class="value">share of the pixels</text>'
        f'<text x="{right:.0f}" y="13" class="value">labelled images</text>'
    ]
    for index, (name, color) in enumerate(zip(labeled_images, colors, strict=True)):
        top = 20 + index * row_height
        rows.append(
            f'<rect x="0" y="{top + 6}" width="12" height="12" fill="rgb{color}" stroke="#888"/>'
            f'<text x="20" y="{top + 17}">{escape(name)}</text>'
        )
        for line, (subset, own) in enumerate(shares.items()):
            y, width = top + 3 + (BAR_HEIGHT + BAR_GAP) * line, SHARE_WIDTH * _length(own[name], shares)
            rows.append(_bar(subset, left, y, width, f"{own[name]:.2%}"))
        count = labeled_images[name]
        rows.append(_bar("labeled", right, top + 3, COUNT_WIDTH * count / most, str(count)))
    total_width, height = round(right) + COUNT_WIDTH + 50, 20 + row_height * len(colors)
    return _svg("Class shares by subset, and labelled images by class", total_width, height, rows)


def drift_chart(drift: Drift) -> str:
    """Both histograms of a statistic over each other: labelled images as bars, unlabelled ones as a line."""
    width, height = HISTOGRAM
    highest = max(*drift.labeled_shares, *drift.unlabeled_shares)
    step = width / BINS
    bars = [
        f'<rect class="labeled" x="{index * step:.1f}" y="{height * (1 - share / highest):.1f}" '
        f'width="{step - 0.5:.2f}" height="{height * share / highest:.1f}"/>'
        for index, share in enumerate(drift.labeled_shares)
        if share
    ]
    places = [
        f"{place * step:.1f},{1 + (height - 1) * (1 - share / highest):.1f}"
        for index, share in enumerate(drift.unlabeled_shares)
        for place in (index, index + 1)
    ]
    line = f'<polyline class="unlabeled" points="{" ".join(places)}"/>'
    axis = f'<line x1="0" x2="{width}" y1="{height}" y2="{height}" stroke="#aab3c0"/>'
    ends = (
        f'<text class="value" x="0" y="{height + 13}">{drift.low:.4g}</text>'
        f'<text class="value" x="{width}" y="{height + 13}" text-anchor="end">{drift.high:.4g}</text>'
    )
    return _svg(f"Distribution of {drift.statistic}", width, height + 16, [*bars, line, axis, ends])


def _positive(shares: Mapping[str, Mapping[str, float]]) -> list[float]:
    return [share for own in shares.values() for share in own.values() if share > 0]


def _length(share: float, shares: Mapping[str, Mapping[str, float]]) -> float:
    """Length of a bar, 0..1; on the logarithmic scale the smallest power of ten below all shares is 0."""
    positive = _positive(shares)
    if share <= 0:
        return 0.0
    if not is_logarithmic(shares):
        return share / max(positive)
    low = math.ceil(math.log10(min(positive))) - 1
    return (math.log10(share) - low) / (math.log10(max(positive)) - low)


def _bar(kind: str, x: float, y: float, width: float, text: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{max(1.0, width):.1f}" height="{BAR_HEIGHT}"/>'
        f'<text class="value" x="{x + width + 6:.1f}" y="{y + 9}">{text}</text>'
    )


def _svg(label: str, width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
