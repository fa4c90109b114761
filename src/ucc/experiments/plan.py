"""What an experiment file asks for: every run with its complete parameters."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ucc.config import Params
from ucc.errors import UserError
from ucc.experiments.content import Content, Paper, read_content
from ucc.experiments.identity import flatten, identity, placeless
from ucc.overrides import literal
from ucc.params import load_params


@dataclass(frozen=True)
class Run:
    """One training: a cell of the table, one of its seeds.

    Attributes:
        as_written: whether the figures are those that the file asks for, no override changing them.
    """

    name: str
    arm: str
    column: str
    seed: int
    params: Params
    as_written: bool = True


@dataclass(frozen=True)
class Plan:
    """An experiment file: arms are the rows of its table, columns its columns, seeds what a cell averages over.

    Attributes:
        beside: names of the experiment files that lie in the same folder.
    """

    name: str
    title: str
    note: str
    arms: tuple[str, ...]
    columns: tuple[str, ...]
    seeds: tuple[int, ...]
    paper: Paper | None
    runs: tuple[Run, ...]
    beside: tuple[str, ...] = ()

    def named(self, run: str) -> bool:
        """Whether this file gave a run its name, or one that it was before; not `camvid` that of `camvid_methods`."""
        fitting = [name for name in (self.name, *self.beside) if run.startswith(f"{_slug(name)}-")]
        return bool(fitting) and max(fitting, key=len) == self.name


def read_plan(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Read an experiment file; `overrides` (`key=value`) apply to every run, such as where the data lie.

    Raises:
        UserError: naming the file and the key that is missing, unknown or impossible, or two arms or columns that
            ask for the same run.
    """
    content = read_content(path)
    runs = tuple(_runs(path, content, overrides))
    _refuse_equal_runs(path, runs)
    for key in content.paper.protocol if content.paper else ():
        if key not in flatten(asdict(runs[0].params)):
            raise UserError(f"{path}: paper.protocol.{key}: no key of params.yaml.")
    return Plan(
        path.stem,
        content.title,
        content.note,
        tuple(content.arms),
        tuple(content.columns),
        content.seeds,
        content.paper,
        runs,
        tuple(other.stem for other in path.parent.glob("*.yaml") if other.stem != path.stem),
    )


def exact_params(plan: Plan) -> dict[str, Any]:
    """The parameters of every run: what all share, and by name of the run what each adds."""
    flat = {run.name: placeless(asdict(run.params)) for run in plan.runs}
    first, *others = flat.values()
    common = {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}
    return {
        "common": common,
        "runs": {name: {k: v for k, v in f.items() if k not in common} for name, f in flat.items()},
    }


def differences(wanted: Params, present: Params) -> list[str]:
    """The overrides that turn `present` into `wanted`, in the order of params.yaml."""
    there = flatten(asdict(present))
    changed = {key: value for key, value in flatten(asdict(wanted)).items() if key not in there or there[key] != value}
    # An entry of a mapping that params.yaml leaves empty has to be added.
    gone = [f"~{key}" for key in there if key not in flatten(asdict(wanted))]
    return [f"{'' if key in there else '+'}{key}={literal(value)}" for key, value in changed.items()] + gone


def _runs(path: Path, content: Content, overrides: Sequence[str]) -> Iterator[Run]:
    for override in overrides:
        if override.lstrip("+~").partition("=")[0] == "train.seed":
            raise UserError(f"{override}: the seeds are those that {path} lists under seeds; change them there.")
    for arm, arm_setting in content.arms.items():
        for column, column_setting in content.columns.items():
            setting = {**content.shared, **arm_setting, **column_setting}
            written = [f"{key}={literal(value)}" for key, value in setting.items()]
            try:
                # Once a cell: reading takes a while, and seeds have been checked.
                cell = load_params(content.params, [*written, *overrides])
                as_written = not overrides or identity(asdict(cell)) == identity(
                    asdict(load_params(content.params, written))
                )
            except UserError as error:
                raise UserError(f"{path}: arm {arm}, column {column}: {error}") from error
            for seed in content.seeds:
                params = replace(cell, train=replace(cell.train, seed=seed))
                tag = identity(asdict(params))
                name = f"{_slug(path.stem)}-{_slug(arm)}-{_slug(column)}-s{seed}-{tag[:6]}"
                yield Run(name, arm, column, seed, params, as_written)


def _refuse_equal_runs(path: Path, runs: Sequence[Run]) -> None:
    """One figure in two cells would look like two results that agree."""
    places: dict[str, Run] = {}
    for run in runs:
        first = places.setdefault(identity(asdict(run.params)), run)
        if first is not run:
            raise UserError(
                f"{path}: arm {first.arm}, column {first.column} and arm {run.arm}, column {run.column} ask for the "
                "same run: nothing that differs between them changes its mIoU; weights and folders count by name. "
                "Leave one out."
            )


def _slug(text: Any) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", str(text)).strip("-.").lower()
