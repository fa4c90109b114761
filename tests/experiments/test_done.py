"""What is recorded and what this clone holds make up what is done; where they disagree, the record counts."""

from dataclasses import asdict
from pathlib import Path

import pytest
from finished_experiments import commit_experiment, git

from ucc.experiments import __main__ as command
from ucc.experiments.done import done_runs
from ucc.experiments.finished import finished_runs
from ucc.experiments.identity import identity
from ucc.experiments.plan import Plan


def test_a_run_that_was_evaluated_anew_has_figures_of_pseudo_labels_of_both_numbers_of_images(
    plan: Plan, repository: Path
) -> None:
    params, key = asdict(plan.runs[1].params), identity(asdict(plan.runs[1].params))
    for name, images in (("first", 50), ("second", 344), ("third", 9)):
        params["evaluate"]["pseudo_label_images"] = images
        evaluation = {"head_1": {"miou": 42.0}, "manifest": "cafe"}
        commit_experiment(repository, name, params, evaluation, {"head_1": {"miou": float(images) / 10}})
        if name == "second":
            assert {n: f["pseudo_head_1"] for n, f in finished_runs(repository)[key].labels.items()} == {
                50: 5,
                344: 34.4,
            }
            command.table(plan)
            git(repository, "update-ref", "-d", "refs/exps/12/345/second")
    done = done_runs(Path("results"), Path())
    assert done.disagreements == []
    assert sorted(done.runs[key].labels) == [9, 50]


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


def test_a_recorded_row_counts_more_than_an_experiment_of_this_clone(
    plan: Plan, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.table(plan)
    rows = (repository / "results/methods.csv").read_text()
    assert done_runs(Path("results"), Path()).disagreements == []
    git(repository, "update-ref", "-d", "refs/exps/12/345/mine")
    commit_experiment(repository, "faulty", asdict(plan.runs[0].params), {"head_1": {"miou": 9.0}, "manifest": "cafe"})
    capsys.readouterr()
    command.table(plan)
    assert (repository / "results/methods.csv").read_text() == rows
    assert "note: faulty: 9.00 in this clone" in capsys.readouterr().err
