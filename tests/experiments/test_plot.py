"""The picture of a table: the same from the same figures, whole, and no flatterer of small differences."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from finished_experiments import results
from matplotlib.figure import Figure

from ucc.experiments.plan import Plan, read_plan
from ucc.experiments.plot import LEAST_SPAN, draw, plot
from ucc.experiments.table import cells

ROOT = Path(__file__).parents[2]


def test_the_picture_is_the_same_for_the_same_figures_and_stands_gaps(plan: Plan, tmp_path: Path) -> None:
    drawn = []
    for name in ("one.svg", "two.svg"):
        plot(plan, cells(plan, results(plan)), tmp_path / name)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith(b"<?xml")
    plot(plan, cells(plan, {}), tmp_path / "empty.svg")
    plot(plan, cells(plan, results(plan, leave_out=("ucc", "1/8", 2))), tmp_path / "gap.svg")
    assert "ucc (1/8 missing)" in (tmp_path / "gap.svg").read_text()
    assert "missing" not in drawn[0].decode()


def drawn_whole(figure: Figure) -> bool:
    """Whether everything in a figure lies within it."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return bool(min(drawn.x0, drawn.y0) >= 0 and drawn.x1 <= width and drawn.y1 <= height)


@pytest.mark.parametrize("length", [10, 60, 120])
def test_nothing_written_in_the_picture_is_cut_off_however_long_the_names_are(tmp_path: Path, length: int) -> None:
    content = {
        "title": "Two methods",
        "params": str(ROOT / "presets/streets.yaml"),
        "arms": {(f"{name} " * length)[:length]: {"method.name": name} for name in ("supervised", "ucc")},
        "seeds": [0],
    }
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    long = read_plan(tmp_path / "long.yaml")
    assert drawn_whole(draw(long, cells(long, {})))
    assert drawn_whole(draw(long, cells(long, results(long))))


def test_a_small_difference_does_not_look_like_a_large_one(plan: Plan) -> None:
    one_seed = replace(plan, seeds=(0,), columns=("1/16",), paper=None)
    close = {
        key: replace(done, figures={"head_1": 46.5 if "head_2" in done.figures else 46.4})
        for key, done in results(one_seed).items()
    }
    low, high = draw(one_seed, cells(one_seed, close)).axes[0].get_xlim()
    assert high - low == pytest.approx(LEAST_SPAN)
    assert low < 46.4 < 46.5 < high


def test_lines_over_labelled_shares_are_drawn_where_these_are_what_the_columns_are(plan: Plan, tmp_path: Path) -> None:
    def axis(of: Plan) -> str:
        plot(of, cells(of, results(of)), tmp_path / "axis.svg")
        return (tmp_path / "axis.svg").read_text()

    assert "share of training images with a mask" in axis(plan)
    steps = {"1/16": "500", "1/8": "1000"}
    same_ratio = [
        replace(r, column=steps[r.column], params=replace(r.params, partition=plan.runs[0].params.partition))
        for r in plan.runs
    ]
    assert "share of training" not in axis(replace(plan, columns=tuple(steps.values()), runs=tuple(same_ratio)))
