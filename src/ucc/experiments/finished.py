"""Which runs are done, read from the commits that DVC keeps for experiments."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ucc.config import Params
from ucc.errors import UserError
from ucc.experiments.dvc_text import parse_yaml
from ucc.experiments.identity import YOUNGER, flatten, identity, run_tag
from ucc.params import load_params
from ucc.paths import DATASET

EXPERIMENTS = "refs/exps"
# Below this name DVC keeps what is queued, running or failed.
NOT_RESULTS = ("refs/exps/celery/", "refs/exps/exec/", "refs/exps/stash", "refs/exps/namespace/")
STAGES = ("download", "partition", "validate", "train", "evaluate")
EVALUATION, TRAINING, LABELS = "metrics/evaluation.json", "metrics/train.json", "metrics/pseudo_labels.json"
# What is kept of a run, in percent: where it stands. `best` is head 1 at its best on val, which flatters itself.
FIGURES = {
    "head_1": (EVALUATION, "head_1", "miou"),
    "head_2": (EVALUATION, "head_2", "miou"),
    "mean": (EVALUATION, "mean", "miou"),
    "best": (TRAINING, "best_val_miou"),
    "pseudo_head_1": (LABELS, "head_1", "miou"),
    "pseudo_head_2": (LABELS, "head_2", "miou"),
    "collapsed": (LABELS, "head_1", "collapsed"),
    "more_certain": (LABELS, "disagreeing", "more_certain"),
    "less_certain": (LABELS, "disagreeing", "less_certain"),
}
# These are of as many unlabelled images as evaluate.pseudo_label_images asks for, on which no other figure depends.
OF_LABELS = frozenset(name for name, place in FIGURES.items() if place[0] == LABELS)


@dataclass(frozen=True)
class Finished:
    """A run with its figures.

    Attributes:
        name: of DVC's experiment.
        revision: its commit.
        code: the state of the source code that it ran with.
        manifest: the hash of the partition that it was trained and measured on.
        figures: by names of `FIGURES`, in percent; `head_1` always, the others where there are such.
        data: DVC's hash of the data set that it was made with; empty where only a table tells of the run.
        labels: those of `OF_LABELS`, by the `evaluate.pseudo_label_images` that they were measured with.
    """

    name: str
    revision: str
    code: str
    manifest: str
    figures: Mapping[str, float]
    labels: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    data: str = ""

    def with_labels_of(self, other: "Finished") -> "Finished":
        """With what `other`, the same run, has beyond it: figures of labels of other numbers of images."""
        if (self.manifest, self.figures.get("head_1")) != (other.manifest, other.figures.get("head_1")):
            return self
        return replace(self, labels={**other.labels, **self.labels})


def finished_runs(repository: Path) -> dict[str, Finished]:
    """Every finished experiment by the identity of its parameters; of several the newest.

    One that stopped before its evaluation holds the evaluation of another, since git keeps that file: only what
    dvc.lock vouches for counts.

    Raises:
        UserError: if `repository` is no git repository.
    """
    listing = _git(repository, "for-each-ref", "--sort=creatordate", "--format=%(refname) %(objectname)", EXPERIMENTS)
    found: dict[str, Finished] = {}
    for line in listing.splitlines():
        reference, revision = line.split()
        if reference.startswith(NOT_RESULTS):
            continue
        files = {path: _show(repository, revision, path) for path in ("params.yaml", "dvc.lock", EVALUATION)}
        params = _known(files["params.yaml"])
        if params and _vouched_for(files["dvc.lock"], files["params.yaml"], files[EVALUATION]):
            code = _git(repository, "rev-parse", f"{revision}:./src").strip()[:10]
            name = reference.rpartition("/")[2]
            figures, labels = split_figures(_figures(repository, revision), params.evaluate.pseudo_label_images)
            manifest = json.loads(files[EVALUATION])["manifest"]
            data = dataset_hash(files["dvc.lock"])
            run = Finished(name, revision[:10], code, manifest, figures, labels, data)
            key = identity(asdict(params))
            found[key] = run.with_labels_of(found[key]) if key in found else run
    return found


def dataset_hash(lock: str) -> str:
    """DVC's hash of what the stage `download` made, by the text of a dvc.lock; empty if it does not say."""
    made = parse_yaml(lock).get("stages", {}).get("download", {}).get("outs", ())
    return next((str(out["md5"]) for out in made if out["path"] == DATASET.as_posix()), "")


def made_with(lock: str, params: str, stage: str) -> bool:
    """Whether a dvc.lock has the stage with the values that a params.yaml gives it; both as their text."""
    locked = parse_yaml(lock).get("stages", {}).get(stage)
    return locked is not None and _has_values(locked, parse_yaml(params))


def split_figures(figures: Mapping[str, float], asked: int) -> tuple[dict[str, float], dict[int, dict[str, float]]]:
    """`figures` and `labels` of a `Finished`; `asked` is its `evaluate.pseudo_label_images`."""
    labels = {name: value for name, value in figures.items() if name in OF_LABELS}
    others = {name: value for name, value in figures.items() if name not in OF_LABELS}
    return others, {asked: labels} if labels else {}


def queued_runs(status: str) -> dict[str, str]:
    """Names of the experiments that wait or run, by `run_tag`, from what `dvc queue status` prints.

    What a killed worker was at stays "Running" there for ever, so without a worker nothing runs.
    """
    alive = ("Queued",) if "Worker status: 0 active" in status else ("Queued", "Running")
    return {run_tag(name): name for name in _listed(status, alive)}


def waiting_runs(status: str) -> list[str]:
    """Names of the experiments that have not begun, from what `dvc queue status` prints."""
    return _listed(status, ("Queued",))


def _listed(status: str, states: Sequence[str]) -> list[str]:
    rows = [line.split() for line in status.splitlines()]
    return [row[1] for row in rows if len(row) > 2 and row[-1] in states]


def _known(params: str) -> Params | None:
    """None for parameters that this version does not know: such a run is none of ours to count."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(params, encoding="utf-8")
        present = flatten(parse_yaml(params))
        try:
            return load_params(path, [f"{key}={value}" for key, value in YOUNGER if key not in present])
        except UserError:
            return None


def _vouched_for(lock: str, params: str, evaluation: str) -> bool:
    """Whether dvc.lock has every stage up to this evaluation, with these parameters and on what the others made."""
    stages = parse_yaml(lock).get("stages", {})
    if any(stage not in stages for stage in STAGES):
        return False
    present = parse_yaml(params)
    made: dict[str, str] = {}
    for stage in STAGES:
        if not _has_values(stages[stage], present):
            return False
        if any(made.get(dep["path"], dep["md5"]) != dep["md5"] for dep in stages[stage].get("deps", ())):
            return False
        made |= {out["path"]: out["md5"] for out in stages[stage].get("outs", ())}
    return made.get(EVALUATION) == hashlib.md5(evaluation.encode()).hexdigest()


def _has_values(locked: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    used = locked.get("params", {}).get("params.yaml", {})
    return all(_at(params, key.split(".")) == value for key, value in used.items())


def _figures(repository: Path, revision: str) -> dict[str, float]:
    files = {path: _show(repository, revision, path) for path in {place[0] for place in FIGURES.values()}}
    measured = {path: json.loads(text) for path, text in files.items() if text}
    found = {name: _at(measured.get(path), keys) for name, (path, *keys) in FIGURES.items()}
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _at(nested: Any, keys: list[str]) -> Any:
    for key in keys:
        nested = nested.get(key) if isinstance(nested, Mapping) else None
    return nested


def _show(repository: Path, revision: str, path: str) -> str:
    """A file of a commit, by its place in the project, which may be a part of the repository; empty without it."""
    result = subprocess.run(
        ["git", "show", f"{revision}:./{path}"], cwd=repository, capture_output=True, text=True, check=False
    )
    return result.stdout if result.returncode == 0 else ""


def _git(repository: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"git {arguments[0]}: {result.stderr.strip()}. Run from the project's root, a git repository.")
    return result.stdout
