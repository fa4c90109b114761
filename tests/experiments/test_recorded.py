"""Rows of results/*.csv: none is lost when its table is written again, and a spoilt one is named."""

import csv
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from finished_experiments import commit_experiment, git

from ucc.errors import UserError
from ucc.experiments import __main__ as command
from ucc.experiments.plan import Plan, read_plan
from ucc.experiments.recorded import lost_rows, recorded_runs
from ucc.experiments.table import cells, run_rows

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("repository")
def test_a_table_does_not_take_the_place_of_figures_that_it_does_not_hold(plan: Plan) -> None:
    command.table(plan)
    before = {path: path.read_bytes() for path in Path("results").iterdir()}
    git(Path(), "update-ref", "-d", "refs/exps/12/345/mine")
    other = replace(plan.runs[0], params=replace(plan.runs[0].params, train=replace(plan.runs[0].params.train, lr=0.3)))
    with pytest.raises(UserError, match=r"figures of 1 runs .* supervised 1/16 seed 0\. Give the file another name"):
        command.table(replace(plan, runs=(other, *plan.runs[1:])))
    assert {path: path.read_bytes() for path in Path("results").iterdir()} == before


@pytest.mark.usefixtures("repository")
def test_figures_of_other_parameters_do_not_take_the_place_of_those_in_the_table(plan: Plan) -> None:
    command.table(plan)
    shorter = replace(plan.runs[0].params, train=replace(plan.runs[0].params.train, steps=499))
    commit_experiment(Path(), "shorter", asdict(shorter), {"head_1": {"miou": 11.0}, "manifest": "cafe"})
    before = Path("results/methods.csv").read_bytes()
    with pytest.raises(UserError, match="figures of 1 runs"):
        command.table(replace(plan, runs=(replace(plan.runs[0], params=shorter), *plan.runs[1:])))
    assert Path("results/methods.csv").read_bytes() == before


@pytest.mark.usefixtures("repository")
def test_an_arm_can_be_renamed(plan: Plan) -> None:
    command.table(plan)
    renamed = tuple(replace(r, arm="baseline") if r.arm == "supervised" else r for r in plan.runs)
    command.table(replace(plan, arms=("baseline", "ucc"), runs=renamed))
    assert "baseline,1/16,0,44.5" in Path("results/methods.csv").read_text()


TABLES = [path for path in (ROOT / "experiments").glob("*.yaml") if (ROOT / f"results/{path.stem}.csv").exists()]


@pytest.mark.parametrize("path", sorted(TABLES), ids=lambda p: p.stem)
def test_no_committed_figure_is_lost_when_its_table_is_written_again(path: Path) -> None:
    rows = run_rows(read_plan(path), recorded_runs(ROOT / "results"))
    assert lost_rows(ROOT / f"results/{path.stem}.csv", rows) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("44.5", "lots", r"methods\.csv:2: head_1 = lots is no percentage\. .* counts as missing"),
        ("44.5", "nan", r"methods\.csv:2: head_1 = nan is no percentage"),
        ("44.5", "445", r"methods\.csv:2: head_1 = 445 is no percentage"),
        ("44.5", "", r"methods\.csv:2: a run without head_1"),
        ("cafe", "", r"methods\.csv:2: a run without manifest"),
        ("arm,column", "was,lost", r"methods\.csv: its first line is not that of a table of runs"),
        ("supervised,1/16,1", "<<<<<<< HEAD\nsupervised,1/16,1", r"methods\.csv:3: a merge that was not finished"),
        ("supervised,1/16,1", "Größe,1/16,1", r"methods\.csv: not a table in UTF-8"),
    ],
)
def test_a_spoilt_table_is_named(plan: Plan, repository: Path, old: str, new: str, message: str) -> None:
    command.table(plan)
    path = repository / "results/methods.csv"
    path.write_text(path.read_text().replace(old, new, 1), encoding="latin-1")
    with pytest.raises(UserError, match=message):
        recorded_runs(repository / "results")
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        command.table(plan)
    assert path.read_bytes() == before


def test_a_table_that_was_saved_with_a_byte_order_mark_is_read(plan: Plan, repository: Path) -> None:
    command.table(plan)
    recorded = recorded_runs(repository / "results")
    path = repository / "results/methods.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert recorded_runs(repository / "results") == recorded != {}


def test_two_results_of_one_run_are_named(plan: Plan, repository: Path) -> None:
    command.table(plan)
    for kind in ("csv", "params.yaml"):
        shutil.copy(repository / f"results/methods.{kind}", repository / f"results/others.{kind}")
    assert recorded_runs(repository / "results")
    path = repository / "results/others.csv"
    path.write_text(path.read_text().replace("44.5", "43.5"))
    with pytest.raises(UserError, match=r"methods\.csv:2 and .*others\.csv:2: two results of one run"):
        recorded_runs(repository / "results")


def with_labels(repository: Path, table: str, figure: str, images: str) -> None:
    """Give the first run of results/methods.csv a figure of pseudo labels, in a table of the name `table`."""
    parameters = (repository / "results/methods.params.yaml").read_text()
    (repository / f"results/{table}.params.yaml").write_text(parameters)
    with (repository / "results/methods.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[0] |= {"pseudo_head_1": figure, "pseudo_label_images": images}
    with (repository / f"results/{table}.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_figures_of_pseudo_labels_stand_only_in_a_table_that_asks_for_as_many_images(
    plan: Plan, repository: Path, tmp_path: Path
) -> None:
    command.table(plan)
    with_labels(repository, "others", "31.0", "344")
    with_labels(repository, "methods", "30.0", "50")
    (run,) = recorded_runs(repository / "results").values()
    assert run.labels == {50: {"pseudo_head_1": 30.0}, 344: {"pseudo_head_1": 31.0}}
    others = read_plan(tmp_path / "methods.yaml", ["evaluate.pseudo_label_images=344"])
    for asking, figure, images in ((plan, 30.0, 50), (others, 31.0, 344)):
        row = run_rows(asking, recorded_runs(repository / "results"))[0]
        assert (row["pseudo_head_1"], row["pseudo_label_images"]) == (figure, images)
        assert cells(asking, recorded_runs(repository / "results"), "pseudo_head_1")[0].values[0] == figure
    neither = read_plan(tmp_path / "methods.yaml", ["evaluate.pseudo_label_images=9"])
    assert "pseudo_head_1" not in run_rows(neither, recorded_runs(repository / "results"))[0]


def test_figures_of_pseudo_labels_are_not_lost_by_a_table_that_asks_for_other_images(
    plan: Plan, repository: Path, tmp_path: Path
) -> None:
    command.table(plan)
    with_labels(repository, "methods", "30.0", "50")
    command.table(plan)
    with pytest.raises(UserError, match=r"holds figures of 1 runs .* supervised 1/16 seed 0"):
        command.table(read_plan(tmp_path / "methods.yaml", ["evaluate.pseudo_label_images=9"]))


def test_a_table_from_before_there_was_the_number_of_images_keeps_its_scores(plan: Plan, repository: Path) -> None:
    command.table(plan)
    path = repository / "results/methods.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        del row["pseudo_label_images"]
    rows[0]["pseudo_head_1"] = "30.0"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (run,) = recorded_runs(repository / "results").values()
    assert (run.figures["head_1"], run.labels) == (44.5, {})
    command.table(plan)


@pytest.mark.parametrize(
    ("images", "message"), [("50", "two results of one run"), ("", "pseudo_label_images =  is no number of images")]
)
def test_figures_of_pseudo_labels_that_contradict_each_other_or_lack_their_images_are_named(
    plan: Plan, repository: Path, images: str, message: str
) -> None:
    command.table(plan)
    with_labels(repository, "others", "31.0", images)
    with_labels(repository, "methods", "30.0", "50")
    with pytest.raises(UserError, match=message):
        recorded_runs(repository / "results")
