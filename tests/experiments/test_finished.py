"""Which runs git and DVC's queue hold: whole ones alone count, each by its parameters."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from finished_experiments import commit_experiment, git

from ucc.errors import UserError
from ucc.experiments.finished import finished_runs, queued_runs
from ucc.experiments.identity import identity
from ucc.experiments.plan import Plan


def test_finished_experiments_are_found_by_their_parameters(plan: Plan, repository: Path) -> None:
    found = finished_runs(repository)
    assert list(found) == [identity(asdict(plan.runs[0].params))]
    (done,) = found.values()
    assert (done.name, done.manifest, done.figures) == ("mine", "cafe", {"head_1": 44.5, "best": 45.1235})


def test_a_project_that_is_a_part_of_a_repository_has_its_experiments_found(plan: Plan, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "whole")
    whole = tmp_path / "whole"
    project = whole / "part"
    (project / "src").mkdir(parents=True)
    (project / "src/code.py").write_text("pass\n")
    git(whole, "add", "-A")
    git(whole, "commit", "--quiet", "-m", "project")
    commit_experiment(project, "mine", asdict(plan.runs[0].params), {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    (done,) = finished_runs(project).values()
    assert (done.name, done.figures["best"]) == ("mine", 45.1235)


def test_an_experiment_from_before_there_was_a_key_counts_as_the_run_that_it_was(plan: Plan, repository: Path) -> None:
    params = asdict(plan.runs[1].params)
    del params["evaluate"]["split"]
    del params["dataset"]["folder"]["image_suffix"]
    commit_experiment(repository, "older", params, {"head_1": {"miou": 42.0}, "manifest": "cafe"})
    assert finished_runs(repository)[identity(asdict(plan.runs[1].params))].figures["head_1"] == 42.0


def test_a_number_is_the_same_however_dvc_writes_it(plan: Plan, repository: Path) -> None:
    """In dvc.lock 0.00005 stands as 5e-05, which is a number there, and text to other readers of YAML."""
    git(repository, "checkout", "--quiet", "--detach", "refs/exps/12/345/mine")
    for name in ("params.yaml", "dvc.lock"):
        text = (repository / name).read_text(encoding="utf-8")
        weight = "5.0e-5" if name == "params.yaml" else "5e-05"
        assert text.count("weight_decay: 0.0005\n") == 1
        (repository / name).write_text(text.replace("weight_decay: 0.0005\n", f"weight_decay: {weight}\n"))
    git(repository, "commit", "--quiet", "--all", "--amend", "-m", "other")
    git(repository, "update-ref", "refs/exps/12/345/mine", "HEAD")
    params = plan.runs[0].params
    lighter = replace(params, train=replace(params.train, weight_decay=5e-5))
    assert list(finished_runs(repository)) == [identity(asdict(lighter))]


def relock(folder: Path, spoil: Callable[[dict[str, Any]], None]) -> None:
    """Commit the finished experiment anew with another dvc.lock."""
    git(folder, "checkout", "--quiet", "--detach", "refs/exps/12/345/mine")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    spoil(lock["stages"])
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    git(folder, "commit", "--quiet", "--all", "--amend", "-m", "spoilt")
    git(folder, "update-ref", "refs/exps/12/345/mine", "HEAD")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stages: stages["train"]["params"]["params.yaml"]["train"].update(lr=0.7),
        lambda stages: stages["evaluate"]["params"]["params.yaml"].update({"train.accelerator": "cuda"}),
        lambda stages: stages["train"]["outs"][0].update(md5="of another model"),
        lambda stages: stages["evaluate"]["outs"][0].update(md5="of another evaluation"),
        lambda stages: stages.pop("evaluate"),
    ],
    ids=["trained otherwise", "evaluated otherwise", "another model", "another evaluation", "not evaluated"],
)
def test_an_experiment_that_stopped_on_the_way_does_not_count_with_the_figures_of_another(
    repository: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    relock(repository, lambda _: None)
    assert finished_runs(repository)
    relock(repository, spoil)
    assert finished_runs(repository) == {}


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
