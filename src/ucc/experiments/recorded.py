"""Runs that were done elsewhere: their figures as the tables of results/ keep them.

DVC's experiments stay in the clone that ran them. The rows of results/*.csv are committed, so a table can be filled
by several machines, or on several days; a row that is deleted is run again.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ucc.errors import UserError
from ucc.experiments.finished import Finished

PARAMETERS = "parameters"
PREDICTORS = ("head_1", "head_2", "mean")
COLUMNS = ("arm", "column", "seed", *PREDICTORS, "manifest", "experiment", "revision", "code", PARAMETERS)


def recorded_runs(results: Path) -> dict[str, Finished]:
    """Every run in results/*.csv by the identity of its parameters; rows without one, of older versions, are left out.

    Raises:
        UserError: naming the file and line whose figures cannot be read.
    """
    found: dict[str, Finished] = {}
    for path in sorted(results.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for line, row in enumerate(csv.DictReader(stream), start=2):
                if row.get(PARAMETERS) and row.get(PREDICTORS[0]):
                    found[row[PARAMETERS]] = _finished(row, f"{path}:{line}")
    return found


def lost_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Runs that have a figure in the table at `path` and would have none if `rows` took its place."""
    if not path.is_file():
        return []
    kept = {_place(row) for row in rows if row.get(PREDICTORS[0])}
    with path.open(encoding="utf-8", newline="") as stream:
        return [" ".join(_place(r)) for r in csv.DictReader(stream) if r.get(PREDICTORS[0]) and _place(r) not in kept]


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row["arm"]), str(row["column"]), f"seed {row['seed']}"


def record(done: Finished) -> dict[str, str | float]:
    """The columns of one run's row that `recorded_runs` reads back."""
    row: dict[str, str | float] = {p: done.evaluation[p]["miou"] for p in PREDICTORS if p in done.evaluation}
    return row | {
        "manifest": done.evaluation["manifest"],
        "experiment": done.name,
        "revision": done.revision,
        "code": done.code,
    }


def _finished(row: dict[str, Any], place: str) -> Finished:
    try:
        evaluation: dict[str, Any] = {p: {"miou": float(row[p])} for p in PREDICTORS if row.get(p)}
        evaluation["manifest"] = row["manifest"]
        return Finished(row["experiment"], row["revision"], row["code"], evaluation)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{place}: not a run as `python -m ucc.experiments table` writes it ({error!r}). Restore the file by git, "
            "or delete the line: the run then counts as missing."
        ) from error
