"""Runs as the tables of results/ keep them.

DVC's experiments stay in the clone that ran them. The rows of results/*.csv are committed, so a table can be filled
by several machines, or on several days.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ucc.errors import UserError
from ucc.experiments.finished import FIGURES, OF_LABELS, Finished, split_figures

PARAMETERS = "parameters"
PLACE = ("arm", "column", "seed")
ASKED = "pseudo_label_images"  # the parameter that figures of pseudo labels depend on beside the run's identity
ORIGIN = ("manifest", "experiment", "revision", "code", PARAMETERS)
COLUMNS = (*PLACE, *FIGURES, ASKED, *ORIGIN)
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
            if not _agree(other.figures, run.figures) or not all(
                _agree(other.labels.get(asked, {}), labels) for asked, labels in run.labels.items()
            ):
                raise UserError(f"{elsewhere} and {place}: two results of one run. {REMEDY}")
            found[row[PARAMETERS]] = _joined(other, run), place
    return {key: run for key, (run, _) in found.items()}


def lost_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Runs of which the table at `path` has figures that would be gone if `rows` took its place."""
    kept = {row.get(PARAMETERS): row for row in rows}
    return [
        f"{row['arm']} {row['column']} seed {row['seed']}"
        for _, row in _rows(path)
        if not _holds(kept.get(row[PARAMETERS], {}), row)
    ]


def record(done: Finished, asked: int) -> dict[str, str | float]:
    """The columns of one run's row that `recorded_runs` reads back; `asked` is `evaluate.pseudo_label_images`."""
    labels = done.labels.get(asked, {})
    return {
        **done.figures,
        **labels,
        **({ASKED: asked} if labels else {}),
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
    asked = row.get(ASKED)
    if asked is not None and OF_LABELS & figures.keys() and not asked.isdecimal():
        raise UserError(f"{place}: figures of pseudo labels, and {ASKED} = {asked} is no number of images. {REMEDY}")
    scores, labels = split_figures(figures, int(asked or 0))
    # A table of before there was that column does not say of how many images its figures of pseudo labels are.
    return Finished(row["experiment"], row["revision"], row["code"], row["manifest"], scores, labels if asked else {})


def _holds(kept: Mapping[str, Any], row: Mapping[str, str]) -> bool:
    """Whether `kept`, which is to take the place of `row`, is that run and has its figures."""
    told = [name for name in FIGURES if row.get(name) and (name not in OF_LABELS or row.get(ASKED))]
    of_labels = any(name in OF_LABELS for name in told)
    return (
        PARAMETERS in kept and all(name in kept for name in told) and (not of_labels or str(kept[ASKED]) == row[ASKED])
    )


def _agree(some: Mapping[str, float], others: Mapping[str, float]) -> bool:
    # Tables that were written before there was a column lack it.
    return all(some.get(name, value) == value for name, value in others.items())


def _joined(some: Finished, other: Finished) -> Finished:
    labels = {asked: {**some.labels.get(asked, {}), **figures} for asked, figures in other.labels.items()}
    return replace(other, figures={**some.figures, **other.figures}, labels={**some.labels, **labels})
