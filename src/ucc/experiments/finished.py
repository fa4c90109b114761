"""Which runs are done, read from the commits that DVC keeps for experiments."""

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ucc.errors import UserError
from ucc.experiments.plan import identity, run_tag
from ucc.params import load_params

EXPERIMENTS = "refs/exps"
# Below this name DVC keeps what is queued, running or failed.
NOT_RESULTS = ("refs/exps/celery/", "refs/exps/exec/", "refs/exps/stash", "refs/exps/namespace/")
EVALUATION = "metrics/evaluation.json"


@dataclass(frozen=True)
class Finished:
    """An experiment with its figures. `code` names the state of the source code that it ran with."""

    name: str
    revision: str
    code: str
    evaluation: dict[str, Any]


def finished_runs(repository: Path) -> dict[str, Finished]:
    """Every finished experiment by the identity of its parameters; of several the newest.

    Raises:
        UserError: if `repository` is no git repository.
    """
    listing = _git(repository, "for-each-ref", "--sort=creatordate", "--format=%(refname) %(objectname)", EXPERIMENTS)
    found: dict[str, Finished] = {}
    for line in listing.splitlines():
        reference, revision = line.split()
        if reference.startswith(NOT_RESULTS):
            continue
        params, evaluation = _show(repository, revision, "params.yaml"), _show(repository, revision, EVALUATION)
        key = _identity(params) if params and evaluation else None
        if key and evaluation:
            name = reference.rpartition("/")[2]
            code = _git(repository, "rev-parse", f"{revision}:src").strip()[:10]
            found[key] = Finished(name, revision[:10], code, json.loads(evaluation))
    return found


def queued_runs(status: str) -> dict[str, str]:
    """Names of the experiments that wait or run, by `run_tag`, from what `dvc queue status` prints.

    What a killed worker was at stays "Running" there for ever, so without a worker nothing runs.
    """
    rows = [line.split() for line in status.splitlines()]
    alive = ("Queued",) if "Worker status: 0 active" in status else ("Queued", "Running")
    return {run_tag(row[1]): row[1] for row in rows if len(row) > 2 and row[-1] in alive}


def _identity(params: str) -> str | None:
    """None for parameters that this version does not know: such a run is none of ours to count."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(params, encoding="utf-8")
        try:
            return identity(asdict(load_params(path)))
        except UserError:
            return None


def _show(repository: Path, revision: str, path: str) -> str | None:
    result = subprocess.run(
        ["git", "show", f"{revision}:{path}"], cwd=repository, capture_output=True, text=True, check=False
    )
    return result.stdout if result.returncode == 0 else None


def _git(repository: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"git {arguments[0]}: {result.stderr.strip()}. Run from the project's root, a git repository.")
    return result.stdout
