"""What `ucc rank` leaves behind: `ranking.csv` and lists of ids, and what of it may be written anew."""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ucc.commands.shares import path_text
from ucc.data.text_list import VAL_IDS
from ucc.errors import UserError
from ucc.files import write_csv, write_text

TABLE = "ranking.csv"
SHEET = "contact_sheet.jpg"
IDS = "labeled_ids.txt"
KEYS = {IDS: "partition.labeled_ids", VAL_IDS: "dataset.folder.val"}
COLUMNS = ("rank", "id", "path", "score", "uncertainty", "disagreement", "distance")


class Ranked(NamedTuple):
    """An image and what is known of it; `rank` counts from 1, None of an image that was not chosen."""

    rank: int | None
    id: str
    path: Path
    score: float
    uncertainty: float
    disagreement: float | None
    distance: float


def check_files(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, or whose files of these names somebody else wrote, or changed.

    Raises:
        UserError: naming the file or folder.
    """
    table, sheet = folder / TABLE, folder / SHEET
    # Not made yet, so that nothing is left behind where there is nothing to rank. A link to nowhere is in the way, too.
    present = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    if not present.is_dir():
        raise UserError(f"{present}: a file; --out names the folder for the results.")
    if not os.access(present, os.W_OK | os.X_OK):
        raise UserError(f"{present}: cannot be written to; give yourself the permission, or use another --out.")
    ranked = table.is_file() and _first_line(table) == ",".join(COLUMNS)
    if (table.exists() and not ranked) or (sheet.exists() and not ranked):
        which = table if table.exists() else sheet
        raise UserError(f"{which}: not written by `ucc rank`; move it, or use another --out.")
    for name in KEYS:
        if (folder / name).exists() and not _is_own(folder / name):
            raise UserError(
                f"{folder / name}: not written by `ucc rank`, or changed since; move it, or use another --out."
            )


def write_table(folder: Path, rows: Sequence[Ranked]) -> None:
    """Write `ranking.csv`; where there is no rank, no disagreement or no distance, the cell is empty."""
    write_csv(
        folder / TABLE,
        [
            {
                **row._asdict(),
                "path": path_text(row.path),
                "score": round(row.score, 6),
                "uncertainty": round(row.uncertainty, 6),
                "disagreement": None if row.disagreement is None else round(row.disagreement, 6),
                "distance": round(row.distance, 4) if math.isfinite(row.distance) else None,
            }
            for row in rows
        ],
        COLUMNS,
    )


def write_ids(folder: Path, labeled: Sequence[str], chosen: Sequence[str], measured: Sequence[str]) -> None:
    """Write `labeled_ids.txt`: what is labelled now, then what was chosen, in the order of the ranks.

    And `val_ids.txt`, the images that are measured on, unless `measured` is empty, where one of before is taken away.
    """
    _write_list(folder / IDS, [*labeled, *chosen])
    if measured:
        _write_list(folder / VAL_IDS, measured)
    else:
        (folder / VAL_IDS).unlink(missing_ok=True)


def _write_list(path: Path, ids: Sequence[str]) -> None:
    lines = "".join(f"{id_}\n" for id_ in ids)
    write_text(path, f"{_signature(path.name, lines)}\n{lines}")


def _signature(name: str, lines: str) -> str:
    written = f"# Written by `ucc rank`, for {KEYS[name]} in params.yaml; the lines below:"
    return f"{written} {hashlib.sha256(lines.encode()).hexdigest()[:16]}"


def _is_own(ids: Path) -> bool:
    first, _, lines = ids.read_text(encoding="utf-8", errors="replace").partition("\n")
    return first == _signature(ids.name, lines)


def _first_line(table: Path) -> str:
    with table.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().rstrip("\n")
