"""The table as a picture: mIoU of every arm, against the labelled share where that varies."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ucc.config import ratio_or_count
from ucc.experiments.plan import Plan
from ucc.experiments.table import Cell
from ucc.files import atomic_path

PAPER: Any = {"color": "grey", "markerfacecolor": "none"}
# The same bytes from the same figures: no random ids. Text as text, which can be searched and read aloud.
STYLE: Any = {
    "svg.hashsalt": "ucc",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
}


def plot(plan: Plan, table: list[Cell], path: Path) -> None:
    """Write the picture as SVG: lines over labelled shares if the columns are these, else every run as a point.

    What is missing is named as missing; the paper's figures are grey and hollow.
    """
    shares = _shares(plan)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        if shares:
            _lines(axes, plan, table, shares)
        else:
            _points(axes, plan, table)
        axes.set_ylabel("mIoU in percent")
        axes.set_title(plan.title)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _lines(axes: Axes, plan: Plan, table: list[Cell], shares: list[float]) -> None:
    for arm in plan.arms:
        row = [cell for cell in table if cell.arm == arm]
        missing = [cell.column for cell in row if cell.mean is None]
        # A line without a point, so that the legend has it.
        means, spreads = [math.nan if c.mean is None else c.mean for c in row], [c.sd or 0.0 for c in row]
        label = arm + (f" ({', '.join(missing)} missing)" if missing else "")
        axes.errorbar(shares, means, spreads, label=label, marker="o", capsize=3)
        papers = [(share, cell.paper) for share, cell in zip(shares, row, strict=True) if cell.paper is not None]
        axes.plot(*zip(*papers, strict=True), "o", **PAPER) if papers else None
    axes.set_xscale("log", base=2)
    axes.set_xticks(shares, plan.columns)
    axes.set_xlabel("share of training images with a mask")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _points(axes: Axes, plan: Plan, table: list[Cell]) -> None:
    for place, cell in enumerate(table):
        values = [value for value in cell.values if value is not None]
        axes.plot([place] * len(values), values, "o", color="tab:blue", alpha=0.5)
        if cell.mean is not None:
            axes.plot([place - 0.25, place + 0.25], [cell.mean] * 2, color="black")
        if cell.paper is not None:
            axes.plot(place, cell.paper, "o", **PAPER)
    many = len(plan.columns) > 1
    names = [f"{c.arm}\n{c.column}" if many else c.arm for c in table]
    axes.set_xticks(
        range(len(table)), [name if c.complete else f"{name}\nmissing" for name, c in zip(names, table, strict=True)]
    )
    axes.set_xlim(-0.5, len(table) - 0.5)


def _shares(plan: Plan) -> list[float]:
    """The labelled share of each column; empty if that is not what makes the columns differ."""
    ratios = {run.column: ratio_or_count(run.params.partition.ratio) for run in plan.runs}
    shares = [float(ratio) for ratio in ratios.values() if isinstance(ratio, Fraction)]
    return shares if 1 < len(set(shares)) == len(plan.columns) else []
