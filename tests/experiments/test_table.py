"""From experiments in git to the table, and what gets queued."""

import json
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from ucc.errors import UserError
from ucc.experiments import __main__ as command
from ucc.experiments.finished import Finished, finished_runs, queued_runs
from ucc.experiments.plan import PLACES, Paper, Plan, flatten, identity, read_plan
from ucc.experiments.plot import plot
from ucc.experiments.recorded import lost_rows, recorded_runs
from ucc.experiments.table import cell_rows, cells, markdown, run_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    content = {
        "title": "Two methods",
        "params": str(ROOT / "presets/streets.yaml"),
        "arms": {"supervised": {"method.name": "supervised"}, "ucc": {"method.name": "ucc"}},
        "columns": {"1/16": {"partition.ratio": "1/16"}, "1/8": {"partition.ratio": "1/8"}},
        "seeds": [0, 1, 2],
        "paper": {"protocol": {"partition.ratio": "1/8"}, "figures": {"ucc": {"1/16": 76.02, "1/8": 77.6}}},
    }
    path = tmp_path / "methods.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_plan(path)


def results(plan: Plan, leave_out: tuple[str, str, int] | None = None) -> dict[str, Finished]:
    """mIoU 40 + seed for supervised, 50 + seed for ucc."""
    return {
        identity(asdict(run.params)): Finished(
            run.name,
            "0123456789",
            "aaaa",
            {"head_1": {"miou": (50.0 if run.arm == "ucc" else 40.0) + run.seed}, "manifest": "cafe"},
        )
        for run in plan.runs
        if (run.arm, run.column, run.seed) != leave_out
    }


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
    finished[key] = Finished("x", "1", "bbbb", finished[key].evaluation)
    assert "2 states of the source code: aaaa, bbbb" in markdown(plan, cells(plan, finished), finished)


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


@pytest.fixture
def repository(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one finished experiment, that of the plan's first run, and one without figures."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src/code.py").write_text("pass\n")
    shutil.copy(ROOT / "presets/streets.yaml", folder / "params.yaml")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "project")
    git(folder, "update-ref", "refs/exps/12/345/unfinished", "HEAD")
    params = asdict(plan.runs[0].params) | {"dataset": asdict(plan.runs[0].params.dataset) | {"root": "/elsewhere"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "metrics").mkdir()
    (folder / "metrics/evaluation.json").write_text(json.dumps({"head_1": {"miou": 44.5}, "manifest": "cafe"}))
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "experiment")
    git(folder, "update-ref", "refs/exps/12/345/mine", "HEAD")
    git(folder, "update-ref", "refs/exps/celery/stash", "HEAD")
    git(folder, "reset", "--quiet", "--hard", "HEAD~1")
    monkeypatch.chdir(folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_finished_experiments_are_found_by_their_parameters(plan: Plan, repository: Path) -> None:
    found = finished_runs(repository)
    assert list(found) == [identity(asdict(plan.runs[0].params))]
    (done,) = found.values()
    assert (done.name, done.evaluation["head_1"]["miou"]) == ("mine", 44.5)


def test_outside_a_repository_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Run from the project's root"):
        finished_runs(tmp_path)


def test_the_queue_is_read_from_what_dvc_prints() -> None:
    status = """Task     Name        Created    Status
6742d09  running-s0  10:32 PM   Running
f3b87bc  waiting-s1  Oct 02, 2026  Queued
3c1c9e1  failed-s2   10:32 PM   Failed
3c1c9e2  done-s3     10:32 PM   Success

Worker status: 2 active, 0 idle
"""
    assert set(queued_runs(status).values()) == {"running-s0", "waiting-s1"}
    assert set(queued_runs(status.replace("2 active", "0 active")).values()) == {"waiting-s1"}
    assert queued_runs("No experiment tasks in the queue.\n\nWorker status: 0 active, 0 idle\n") == {}


@pytest.mark.usefixtures("repository")
def test_only_what_is_neither_done_nor_waiting_is_queued(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, ...]] = []

    def dvc(*arguments: str) -> str:
        calls.append(arguments)
        return f"Task Name Created Status\n1234567 {plan.runs[1].name} 10:32 PM Queued\n"

    monkeypatch.setattr(command, "_dvc", dvc)
    command.queue(plan)
    assert calls[0] == ("queue", "status")
    assert [call[4] for call in calls[1:]] == [run.name for run in plan.runs[2:]]
    assert all(call[:4] == ("exp", "run", "--queue", "--name") for call in calls[1:])
    assert "train.seed=2" in calls[1]
    shown = capsys.readouterr().out
    assert f"done     {plan.runs[0].name}: mIoU 44.50" in shown
    assert f"waiting  {plan.runs[1].name}" in shown
    assert "10 of 12 runs queued" in shown


@pytest.mark.usefixtures("repository")
def test_a_run_that_two_tables_share_is_queued_once(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = plan.runs[1:3]
    elsewhere = one.name.replace("methods", "components")
    again = replace(two, name=two.name.replace("supervised", "baseline"))
    queued: list[str] = []

    def dvc(*arguments: str) -> str:
        queued.extend(arguments[4:5])
        return f"Task Name Created Status\n1234567 {elsewhere} 10:32 PM Queued\n"

    monkeypatch.setattr(command, "_dvc", dvc)
    command.queue(replace(plan, runs=(one, two, again)))
    assert queued == [two.name]
    shown = capsys.readouterr().out
    assert f"waiting  {one.name}: the same run as {elsewhere}\n" in shown
    assert f"waiting  {again.name}: the same run as {two.name}\n" in shown


def test_the_command_writes_its_files(plan: Plan, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.table(plan)
    written = {path.name for path in (repository / "results").iterdir()}
    assert written == {f"methods.{kind}" for kind in ("md", "csv", "svg", "params.yaml", "table.csv")}
    assert "11 runs are missing" in capsys.readouterr().out
    rows = (repository / "results/methods.csv").read_text().splitlines()
    assert rows[0].startswith("arm,column,seed,head_1")
    assert rows[1].startswith("supervised,1/16,0,44.5")
    assert len(rows) == 13
    summary = (repository / "results/methods.table.csv").read_text().splitlines()
    assert summary[0] == "arm,column,mean,sd,runs,seeds,paper"
    assert summary[1] == "supervised,1/16,,,1,3,"


@pytest.mark.usefixtures("repository")
def test_a_run_whose_row_is_committed_counts_on_a_machine_that_never_made_it(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command.table(plan)
    rows = Path("results/methods.csv").read_text()
    git(Path(), "update-ref", "-d", "refs/exps/12/345/mine")
    assert finished_runs(Path()) == {}
    monkeypatch.setattr(command, "_dvc", lambda *_: "")
    capsys.readouterr()
    command.queue(plan)
    assert f"done     {plan.runs[0].name}: mIoU 44.50" in capsys.readouterr().out
    command.table(plan)
    assert Path("results/methods.csv").read_text() == rows
    Path("results/methods.csv").write_text("".join(rows.splitlines(keepends=True)[:1]))
    capsys.readouterr()
    command.queue(plan)
    assert f"queued   {plan.runs[0].name}" in capsys.readouterr().out


@pytest.mark.usefixtures("repository")
def test_a_table_does_not_take_the_place_of_figures_that_it_does_not_hold(plan: Plan) -> None:
    command.table(plan)
    before = {path: path.read_bytes() for path in Path("results").iterdir()}
    git(Path(), "update-ref", "-d", "refs/exps/12/345/mine")
    other = replace(plan.runs[0], params=replace(plan.runs[0].params, train=replace(plan.runs[0].params.train, lr=0.3)))
    with pytest.raises(UserError, match=r"figures of 1 runs .* supervised 1/16 seed 0\. Delete these lines"):
        command.table(replace(plan, runs=(other, *plan.runs[1:])))
    assert {path: path.read_bytes() for path in Path("results").iterdir()} == before


TABLES = [path for path in (ROOT / "experiments").glob("*.yaml") if (ROOT / f"results/{path.stem}.csv").exists()]


@pytest.mark.parametrize("path", sorted(TABLES), ids=lambda p: p.stem)
def test_no_committed_figure_is_lost_when_its_table_is_written_again(path: Path) -> None:
    rows = run_rows(read_plan(path), recorded_runs(ROOT / "results"))
    assert lost_rows(ROOT / f"results/{path.stem}.csv", rows) == []


def test_a_spoilt_row_is_named(plan: Plan, repository: Path) -> None:
    command.table(plan)
    path = repository / "results/methods.csv"
    path.write_text(path.read_text().replace("44.5", "lots"))
    with pytest.raises(UserError, match=r"methods\.csv:2: not a run .* counts as missing"):
        recorded_runs(repository / "results")


@pytest.mark.usefixtures("repository")
def test_the_exact_parameters_of_every_run_stand_beside_the_table(plan: Plan) -> None:
    command.table(plan)
    written = yaml.safe_load(Path("results/methods.params.yaml").read_text())
    for run in plan.runs:
        found = written["common"] | written["runs"][run.name]
        wanted = {key: value for key, value in flatten(asdict(run.params)).items() if key not in PLACES}
        assert found == wanted
    assert set(written["runs"][plan.runs[0].name]) == {"method.name", "partition.ratio", "train.seed"}
