"""The table as a picture: mIoU of every arm, against the labelled share where that varies."""

import math
import textwrap
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
MARKERS = "os^Dvph*"
# How far neighbouring arms stand apart, as a factor of the labelled share: bars at one place would hide each other.
SHIFT = 1.045
# Letters of a name on a line, which take half of the picture.
NAME_WIDTH = 50
# Points of mIoU that a picture is wide at least: a tenth of a point must not look like a lead.
LEAST_SPAN = 3.0
# The same bytes from the same figures: no random ids. Text as text, which can be searched and read aloud.
STYLE: Any = {
    "svg.hashsalt": "ucc",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
}


def plot(plan: Plan, table: list[Cell], path: Path) -> None:
    """Write the picture as SVG: lines over labelled shares if the columns are these, else a row of points a cell.

    What is missing is named as missing; the paper's figures are grey and hollow.
    """
    with mpl.rc_context(STYLE), atomic_path(path) as temporary:
        draw(plan, table).savefig(temporary, format="svg", metadata={"Date": None})


def draw(plan: Plan, table: list[Cell]) -> Figure:
    """The picture that `plot` writes."""
    shares = _shares(plan)
    names = _names(plan, table)
    lines = max(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(7, 4) if shares else (7, 1.2 + 0.15 * (1 + lines) * len(table)), layout="constrained")
    axes = figure.subplots()
    if shares:
        _lines(axes, plan, table, shares)
    else:
        _points(axes, table, names)
        # Of the figure, not of the axes, which long names of arms leave too little room for it.
        figure.supxlabel("mIoU in percent; a line is the mean of the runs", fontsize="medium")
    figure.suptitle(textwrap.fill(plan.title, 70, break_on_hyphens=False), fontsize="large")
    return figure


def _lines(axes: Axes, plan: Plan, table: list[Cell], shares: list[float]) -> None:
    for number, arm in enumerate(plan.arms):
        row = [cell for cell in table if cell.arm == arm]
        missing = [cell.column for cell in row if cell.mean is None]
        # A line without a point, so that the legend has it.
        means, spreads = [math.nan if c.mean is None else c.mean for c in row], [c.sd or 0.0 for c in row]
        label = arm + (f" ({', '.join(missing)} missing)" if missing else "")
        marker, places = (
            MARKERS[number % len(MARKERS)],
            [s * SHIFT ** (number - (len(plan.arms) - 1) / 2) for s in shares],
        )
        axes.errorbar(places, means, spreads, label=label, marker=marker, capsize=3)
        papers = [math.nan if cell.paper is None else cell.paper for cell in row]
        axes.plot(places, papers, marker=marker, linestyle=":", linewidth=0.8, **PAPER)
    axes.set_xscale("log", base=2)
    axes.set_xticks(shares, plan.columns)
    axes.minorticks_off()
    axes.set_xlabel("share of training images with a mask")
    axes.set_ylabel("mIoU in percent")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _names(plan: Plan, table: list[Cell]) -> list[str]:
    many = len(plan.columns) > 1
    names = [f"{c.arm}, {c.column}" if many else c.arm for c in table]
    complete = [name if c.complete else f"{name} (missing)" for name, c in zip(names, table, strict=True)]
    return [textwrap.fill(name, NAME_WIDTH, break_on_hyphens=False) for name in complete]


def _points(axes: Axes, table: list[Cell], names: list[str]) -> None:
    for place, cell in enumerate(table):
        values = [value for value in cell.values if value is not None]
        axes.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.5)
        if cell.mean is not None:
            axes.plot([cell.mean] * 2, [place - 0.3, place + 0.3], color="black")
        if cell.paper is not None:
            axes.plot(cell.paper, place, "o", **PAPER)
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    low, high = axes.get_xlim()
    margin = max(0.0, LEAST_SPAN - (high - low)) / 2
    axes.set_xlim(low - margin, high + margin)
    axes.grid(axis="y", linewidth=0.3)


def _shares(plan: Plan) -> list[float]:
    """The labelled share of each column; empty if that is not what makes the columns differ."""
    ratios = {run.column: ratio_or_count(run.params.partition.ratio) for run in plan.runs}
    shares = [float(ratio) for ratio in ratios.values() if isinstance(ratio, Fraction)]
    return shares if 1 < len(set(shares)) == len(plan.columns) else []
