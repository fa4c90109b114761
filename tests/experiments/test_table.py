"""From finished runs to a table: means over seeds, what is missing, and what is never averaged."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from finished_experiments import results

from ucc.errors import UserError
from ucc.experiments.content import Paper
from ucc.experiments.identity import identity
from ucc.experiments.plan import Plan, read_plan
from ucc.experiments.table import cell_rows, cells, markdown, require_same_data, run_rows

ROOT = Path(__file__).parents[2]


def test_a_cell_is_mean_and_sample_deviation_over_the_seeds(plan: Plan) -> None:
    table = {(c.arm, c.column): c for c in cells(plan, results(plan))}
    assert table["ucc", "1/8"].values == (50, 51, 52)
    assert table["ucc", "1/8"].text == "51.0 ± 1.0 (3)"


def test_a_missing_run_shows_and_is_not_averaged_over(plan: Plan) -> None:
    finished = results(plan, leave_out=("supervised", "1/16", 1))
    table = {(c.arm, c.column): c for c in cells(plan, finished)}
    cell = table["supervised", "1/16"]
    assert (cell.mean, cell.sd, cell.text) == (None, None, "missing (2 of 3)")
    assert "missing (2 of 3)" in markdown(plan, list(table.values()), finished)
    (row,) = [r for r in run_rows(plan, finished) if (r["arm"], r["column"], r["seed"]) == ("supervised", "1/16", 1)]
    assert "head_1" not in row


def test_the_papers_figures_stand_only_where_the_protocol_is_the_same(plan: Plan) -> None:
    text = markdown(plan, cells(plan, results(plan)), results(plan))
    assert r"$\color{grey}{\textsf{77.60}}$" in text
    assert "76.02" not in text
    assert "In grey: the figure of the paper" in text
    papers = {(row["arm"], row["column"]): row.get("paper") for row in cell_rows(cells(plan, results(plan)))}
    assert papers == {(c.arm, c.column): 77.6 if (c.arm, c.column) == ("ucc", "1/8") else None for c in cells(plan, {})}
    assert plan.paper == Paper({"partition.ratio": "1/8"}, {"ucc": {"1/16": 76.02, "1/8": 77.6}})


def test_runs_of_different_code_are_pointed_out(plan: Plan) -> None:
    finished = results(plan)
    assert "states of the source code" not in markdown(plan, cells(plan, finished), finished)
    key = next(iter(finished))
    finished[key] = replace(finished[key], code="bbbb")
    assert "2 states of the source code: aaaa, bbbb" in markdown(plan, cells(plan, finished), finished)


def test_runs_on_different_data_are_not_averaged(plan: Plan) -> None:
    finished = results(plan)
    require_same_data(plan, finished)
    key = identity(asdict(plan.runs[1].params))
    finished[key] = replace(finished[key], manifest="beef")
    with pytest.raises(UserError, match=f"{plan.runs[0].name} was made with partition cafe and {plan.runs[1].name}"):
        require_same_data(plan, finished)


def test_runs_on_redrawn_masks_of_ones_own_are_not_averaged_with_those_before(plan: Plan) -> None:
    mine = [
        replace(run, params=replace(run.params, dataset=replace(run.params.dataset, name="folder", root="/a/cats")))
        for run in plan.runs
    ]
    plan = replace(plan, runs=tuple(mine))
    finished = {key: replace(done, data="one.dir") for key, done in results(plan).items()}
    require_same_data(plan, finished)
    key = identity(asdict(plan.runs[1].params))
    finished[key] = replace(finished[key], data="other.dir")
    with pytest.raises(UserError, match=r"were made with other images or masks, .*: one\.dir and other\.dir"):
        require_same_data(plan, finished)


def test_what_else_is_known_of_the_runs_stands_below(plan: Plan) -> None:
    text = markdown(plan, cells(plan, results(plan)), results(plan))
    assert "| | head 2 | surer head right |" in text
    assert "| ucc, 1/8 | 52.0 ± 1.0 (3) | 60.0 ± 0.0 (3) |" in text
    assert "| supervised, 1/8 |" not in text
    explanations = ("Best on val flatters itself", "Labels: mIoU", "Collapsed: share", "Right: share")
    assert [sentence in text for sentence in explanations] == [False, False, False, True]


def test_a_table_of_figures_on_test_says_so(tmp_path: Path) -> None:
    content = {"title": "t", "params": str(ROOT / "presets/camvid.yaml"), "arms": {"a": {}}, "seeds": [0]}
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(content | {"set": {"evaluate.split": "test"}}), encoding="utf-8")
    of_test, of_val = read_plan(path), read_plan(path, ["evaluate.split=val"])
    assert "mIoU in percent on the images of test," in markdown(of_test, cells(of_test, {}), {})
    assert "mIoU in percent on the images that `partition` measures on," in markdown(of_val, cells(of_val, {}), {})
