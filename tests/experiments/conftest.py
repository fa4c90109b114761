"""What the tests of experiments share: a plan, and a repository in which one of its runs is finished."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from finished_experiments import commit_experiment, git

from ucc.experiments.plan import Plan, read_plan

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
    commit_experiment(folder, "mine", params, {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    git(folder, "update-ref", "refs/exps/celery/stash", "refs/exps/12/345/mine")
    monkeypatch.chdir(folder)
    return folder
