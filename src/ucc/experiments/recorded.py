"""Runs as the tables of results/ keep them.

DVC's experiments stay in the clone that ran them. The rows of results/*.csv are committed, so a table can be filled
by several machines, or on several days.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ucc.errors import UserError
from ucc.experiments.finished import FIGURES, LABELS, Finished

PARAMETERS = "parameters"
PLACE = ("arm", "column", "seed")
# What a run's identity determines; figures of pseudo labels depend on how many images they are measured on, too.
SCORES = tuple(name for name, place in FIGURES.items() if place[0] != LABELS)
ORIGIN = ("manifest", "experiment", "revision", "code", PARAMETERS)
COLUMNS = (*PLACE, *FIGURES, *ORIGIN)
REMEDY = "Restore the file by git, or delete the line: the run then counts as missing."


def recorded_runs(results: Path) -> dict[str, Finished]:
    """Every run in the tables of `results` by the identity of its parameters.

    Raises:
        UserError: naming file and line of what is no run, or is at odds with another line on the same run.
    """
    found: dict[str, tuple[Finished, str]] = {}
    # Other measurements have tables of their own kind; those of experiment files have the parameters beside them.
    for parameters in sorted(results.glob("*.params.yaml")):
        for place, row in _rows(parameters.with_name(parameters.name.replace(".params.yaml", ".csv"))):
            run = _finished(row, place)
            other, elsewhere = found.get(row[PARAMETERS], (run, place))
            if any(other.figures.get(name, figure) != figure for name, figure in run.figures.items() if name in SCORES):
                raise UserError(f"{elsewhere} and {place}: two results of one run. {REMEDY}")
            # Tables that were written before there was a column lack it.
            fuller = max(other, run, key=lambda finished: len(finished.figures))
            found[row[PARAMETERS]] = fuller, place
    return {key: run for key, (run, _) in found.items()}


def lost_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Runs that have figures in the table at `path` and would have none if `rows` took its place."""
    kept = {row.get(PARAMETERS) for row in rows}
    return [f"{row['arm']} {row['column']} seed {row['seed']}" for _, row in _rows(path) if row[PARAMETERS] not in kept]


def record(done: Finished) -> dict[str, str | float]:
    """The columns of one run's row that `recorded_runs` reads back."""
    return {
        **done.figures,
        "manifest": done.manifest,
        "experiment": done.name,
        "revision": done.revision,
        "code": done.code,
    }


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """File and line, and the row, of every run that has figures; none if there is no file."""
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if not {*PLACE, "head_1", *ORIGIN} <= set(reader.fieldnames or ()):
                raise UserError(
                    f"{path}: its first line is not that of a table of runs, {','.join(COLUMNS)}. Restore it by git."
                )
            for row in reader:
                place = f"{path}:{reader.line_num}"
                if row["arm"].startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
                    raise UserError(f"{place}: a merge that was not finished. Keep the lines of both sides, each once.")
                if any(row[name] for name in (*FIGURES, *ORIGIN) if name in row):
                    yield place, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in UTF-8 ({error}). Restore it by git.") from error


def _finished(row: Mapping[str, str], place: str) -> Finished:
    if absent := [name for name in ("head_1", *ORIGIN) if not row[name]]:
        raise UserError(f"{place}: a run without {', '.join(absent)}. {REMEDY}")
    figures: dict[str, float] = {}
    for name in FIGURES:
        if text := row.get(name):
            try:
                figures[name] = float(text)
            except ValueError:
                figures[name] = math.nan
            if not 0 <= figures[name] <= 100:
                raise UserError(f"{place}: {name} = {text} is no percentage. {REMEDY}")
    return Finished(row["experiment"], row["revision"], row["code"], row["manifest"], figures)
