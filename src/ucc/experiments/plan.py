"""What an experiment file asks for: every run with its complete parameters."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ucc.config import Params
from ucc.errors import UserError
from ucc.params import load_params

# Where things lie and what they run on: a run is the same run wherever it is made.
PLACES = (
    "dataset.root",
    "partition.lists",
    *(f"train.{key}" for key in ("workers", "accelerator", "devices", "nodes", "launcher", "max_restarts")),
    *(f"train.{key}" for key in ("log_every", "checkpoint_every")),
)
# No figure of a run depends on what validation lets pass; a run ends with its evaluation.
NOT_MEASURED = ("validation.", "export.", "evaluate.panels", "evaluate.pseudo_label_images")
# Sections that only one choice reads. A key that is added there leaves the runs of the others what they were.
READ_BY = {
    "dataset.streets.": ("dataset.name", "streets"),
    "dataset.folder.": ("dataset.name", "folder"),
    "method.copy_paste.": ("method.name", "ucc"),
    "method.uncertainty.": ("method.name", "ucc"),
    "method.mean_teacher.": ("method.name", "mean_teacher"),
    "method.cct.": ("method.name", "cct"),
    "method.gct.": ("method.name", "gct"),
}
KEYS = ("title", "note", "params", "set", "arms", "columns", "seeds", "paper")

Setting = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training: a cell of the table, one of its seeds."""

    name: str
    arm: str
    column: str
    seed: int
    params: Params


@dataclass(frozen=True)
class Paper:
    """Figures of the paper, and the protocol (keys of params.yaml) under which they may stand beside ours."""

    protocol: Setting
    figures: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """An experiment file: arms are the rows of its table, columns its columns, seeds what a cell averages over."""

    name: str
    title: str
    note: str
    arms: tuple[str, ...]
    columns: tuple[str, ...]
    seeds: tuple[int, ...]
    paper: Paper | None
    runs: tuple[Run, ...]


def read_plan(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Read an experiment file; `overrides` (`key=value`) apply to every run, such as where the data lie.

    Raises:
        UserError: naming the key that is missing, unknown or impossible.
    """
    content = _read(path)
    base = path.parent / str(content["params"])
    if not base.is_file():
        raise UserError(f"{path}: params = {content['params']}: no such file; give a path relative to {path.parent}.")
    arms: dict[str, Setting] = content["arms"]
    columns: dict[str, Setting] = content.get("columns") or {"mIoU": {}}
    seeds = tuple(content["seeds"])
    runs = []
    for arm, arm_setting in arms.items():
        for column, column_setting in columns.items():
            for seed in seeds:
                setting = {**content.get("set", {}), **arm_setting, **column_setting, "train.seed": seed}
                params = load_params(base, [*(f"{key}={_literal(v)}" for key, v in setting.items()), *overrides])
                name = f"{_slug(path.stem)}-{_slug(arm)}-{_slug(column)}-s{seed}-{identity(asdict(params))[:6]}"
                runs.append(Run(name, str(arm), str(column), seed, params))
    return Plan(
        path.stem,
        content["title"],
        content.get("note", ""),
        tuple(map(str, arms)),
        tuple(map(str, columns)),
        seeds,
        _paper(path, content["paper"], arms, columns, runs) if content.get("paper") else None,
        tuple(runs),
    )


def identity(params: Mapping[str, Any]) -> str:
    """Hash of nested parameters, 16 digits: equal for two runs that must give the same figures, wherever made."""
    flat = flatten(params)
    unread = tuple(section for section, (key, value) in READ_BY.items() if flat[key] != value)
    kept = {k: v for k, v in flat.items() if k not in PLACES and not k.startswith(NOT_MEASURED + unread)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def run_tag(name: str) -> str:
    """The digits of its `identity` that the name of a run ends with: alike for one run that stands in two tables."""
    return name.rpartition("-")[2]


def exact_params(plan: Plan) -> dict[str, Any]:
    """The parameters of every run: what all share, and by name of the run what each adds."""
    flat = {run.name: {k: v for k, v in flatten(asdict(run.params)).items() if k not in PLACES} for run in plan.runs}
    first, *others = flat.values()
    common = {k: v for k, v in first.items() if all(other[k] == v for other in others)}
    return {
        "common": common,
        "runs": {name: {k: v for k, v in f.items() if k not in common} for name, f in flat.items()},
    }


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Setting:
    """`{"a": {"b": 1}}` to `{"a.b": 1}`."""
    flat: Setting = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(wanted: Params, present: Params) -> list[str]:
    """The `key=value` that turn `present` into `wanted`, in the order of params.yaml."""
    there = flatten(asdict(present))
    changed = {key: value for key, value in flatten(asdict(wanted)).items() if key not in there or there[key] != value}
    # An entry of a mapping that params.yaml leaves empty has to be added.
    return [f"{'' if key in there else '+'}{key}={_literal(value)}" for key, value in changed.items()]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Experiment files are experiments/*.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping with the keys {', '.join(KEYS)}.")
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            raise UserError(
                f"{path}: unknown key {key}; " + (f"did you mean {near[0]}?" if near else f"known: {KEYS}.")
            )
    for key in ("title", "params", "arms", "seeds"):
        if not content.get(key):
            raise UserError(f"{path}: missing key {key}.")
    for section in ("arms", "columns"):
        if not isinstance(content.get(section) or {}, dict):
            raise UserError(f"{path}: {section} must map names to settings, such as {{ucc: {{method.name: ucc}}}}.")
        for name, setting in (content.get(section) or {}).items():
            if not isinstance(setting, dict):
                raise UserError(f"{path}: {section}.{name} must map keys of params.yaml to values.")
    seeds = content["seeds"]
    if not isinstance(seeds, list) or len(set(seeds)) != len(seeds):
        raise UserError(f"{path}: seeds = {seeds}: must be a list of different numbers.")
    return content


def _paper(path: Path, given: Any, arms: Setting, columns: Setting, runs: Sequence[Run]) -> Paper:
    """The section `paper`; a name in it that nothing else has would hide a figure in silence."""
    if not isinstance(given, dict) or set(given) != {"protocol", "figures"}:
        raise UserError(f"{path}: paper must be a mapping with the keys protocol and figures.")
    figures = {str(arm): {str(column): f for column, f in row.items()} for arm, row in given["figures"].items()}
    for key in given["protocol"]:
        if key not in flatten(asdict(runs[0].params)):
            raise UserError(f"{path}: paper.protocol.{key}: no key of params.yaml.")
    for arm, row in figures.items():
        if arm not in map(str, arms):
            raise UserError(f"{path}: paper.figures.{arm}: no arm of that name; arms: {', '.join(map(str, arms))}.")
        for column, figure in row.items():
            if column not in map(str, columns) or not isinstance(figure, int | float):
                raise UserError(
                    f"{path}: paper.figures.{arm}.{column} = {figure}: must be a number for one of the columns "
                    f"{', '.join(map(str, columns))}."
                )
    return Paper(given["protocol"], figures)


def _literal(value: Any) -> str:
    """A value as Hydra's grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    return str(value)


def _slug(text: Any) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", str(text)).strip("-.").lower()
