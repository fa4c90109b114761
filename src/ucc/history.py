"""The course of training as a table, complete after every interruption."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ucc.files import write_csv

# Present whatever the method, since DVC drops a plot of which one column is missing.
COLUMNS = (
    "step",
    "loss",
    "loss_sup",
    "loss_unsup",
    "lr",
    "val_miou_head_1",
    "val_miou_head_2",
    "val_miou_mean",
    "agreement",
    "used_by_term_1",
    "used_by_term_2",
)
# Of each class; columns `<figure>_<class>` here, long in confidence.csv.
CLASS_FIGURES = ("confidence", "pasted")


class History:
    """Rows of history.csv: means over `log_every` steps, with the validation scores of the steps that had one.

    Sums stay on the device, so that training does not wait for them at every step.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int]] = []
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, record: Mapping[str, Tensor]) -> None:
        """Add the scalars of one step to the row in the making."""
        for name, value in record.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def close_row(self, step: int, **others: float) -> dict[str, float | int]:
        """Append the row that ends with `step`: the means of what was added, and `others` as they are."""
        means = {name: total.item() / self._counts[name] for name, total in self._sums.items()}
        row: dict[str, float | int] = {"step": step, **means, **others}
        self.rows.append(row)
        self._sums, self._counts = {}, {}
        return row

    def latest(self, prefix: str) -> dict[str, float | int]:
        """The newest figure under each name that begins with `prefix`."""
        return {name: value for row in self.rows for name, value in row.items() if name.startswith(prefix)}

    def columns(self) -> list[str]:
        """`COLUMNS`, then other names in the order of their first occurrence."""
        return list(dict.fromkeys([*COLUMNS, *(name for row in self.rows for name in row)]))

    def write(self, path: Path) -> None:
        """Write the table; a figure that a row does not have is an empty cell."""
        columns = self.columns()
        rows = [{key: _shorten(row.get(key)) for key in columns} for row in self.rows]
        write_csv(path, rows, columns)

    def write_class_figures(self, path: Path, classes: Sequence[str]) -> None:
        """Write the columns `<figure>_<class>` as rows of step, class and `CLASS_FIGURES`, for a plot by class."""
        rows = [
            {"step": row["step"], "class": name, **{f: _shorten(row.get(f"{f}_{name}")) for f in CLASS_FIGURES}}
            for row in self.rows
            for name in classes
            if any(f"{figure}_{name}" in row for figure in CLASS_FIGURES)
        ]
        write_csv(path, rows, ("step", "class", *CLASS_FIGURES))

    def state_dict(self) -> dict[str, Any]:
        """Rows and the row in the making."""
        return {"rows": self.rows, "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.rows, self._sums, self._counts = list(state["rows"]), dict(state["sums"]), dict(state["counts"])


def _shorten(value: float | int | None) -> float | int | str:
    if value is None:
        return ""
    return value if isinstance(value, int) else float(f"{value:.6g}")
