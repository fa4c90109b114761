"""The table as a picture: mIoU of every arm, against the labelled share where that varies."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ucc.experiments.plan import Plan
from ucc.experiments.table import Cell
from ucc.files import atomic_path

# The same bytes from the same figures: no random ids.
STYLE: Any = {"svg.hashsalt": "ucc", "axes.spines.top": False, "axes.spines.right": False, "font.size": 10}


def plot(plan: Plan, table: list[Cell], path: Path) -> None:
    """Write the picture as SVG: lines over labelled shares, else every run as a point. What is missing is left out."""
    shares = [share for column in plan.columns if (share := _share(column)) is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        if len(shares) == len(plan.columns) > 1:
            _lines(axes, plan, table, shares)
        else:
            _points(axes, plan, table)
        axes.set_ylabel("mIoU in percent")
        axes.set_title(plan.title)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _lines(axes: Axes, plan: Plan, table: list[Cell], shares: list[float]) -> None:
    for arm in plan.arms:
        row = zip(shares, [cell for cell in table if cell.arm == arm], strict=True)
        known = [(share, cell.mean, cell.sd or 0.0) for share, cell in row if cell.mean is not None]
        if known:
            places, means, spreads = zip(*known, strict=True)
            axes.errorbar(places, means, spreads, label=arm, marker="o", capsize=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(shares, plan.columns)
    axes.set_xlabel("share of training images with a mask")
    if axes.has_data():
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _points(axes: Axes, plan: Plan, table: list[Cell]) -> None:
    for place, cell in enumerate(table):
        values = [value for value in cell.values if value is not None]
        axes.plot([place] * len(values), values, "o", color="tab:blue", alpha=0.5)
        if cell.mean is not None:
            axes.plot([place - 0.25, place + 0.25], [cell.mean] * 2, color="black")
    many = len(plan.columns) > 1
    axes.set_xticks(range(len(table)), [f"{c.arm}\n{c.column}" if many else c.arm for c in table])
    axes.set_xlim(-0.5, len(table) - 0.5)


def _share(column: str) -> float | None:
    try:
        return float(Fraction(column))
    except ValueError:
        return None
