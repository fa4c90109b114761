"""Which runs are done: those that the tables of results/ record, and those of this clone."""

from pathlib import Path
from typing import NamedTuple

from ucc.experiments.finished import Finished, finished_runs
from ucc.experiments.recorded import recorded_runs


class Done(NamedTuple):
    """Runs by the identity of their parameters, and a line on each about which a table and this clone disagree."""

    runs: dict[str, Finished]
    disagreements: list[str]


def done_runs(results: Path, repository: Path) -> Done:
    """A recorded row counts more than an experiment of this clone, which another machine may have put right since.

    Raises:
        UserError: if a table is spoilt, or `repository` is no git repository.
    """
    recorded, finished = recorded_runs(results), finished_runs(repository)
    runs, disagreements = finished | recorded, []
    for key in recorded.keys() & finished.keys():
        row, own = recorded[key], finished[key]
        # Of one revision, the table may be of before there was a column.
        runs[key] = own.with_labels_of(row) if row.revision == own.revision else row.with_labels_of(own)
        if row.figures["head_1"] != own.figures["head_1"]:
            disagreements.append(
                f"{own.name}: {own.figures['head_1']:.2f} in this clone ({own.revision}), {row.figures['head_1']:.2f} "
                f"in {results} ({row.revision}), which counts. `dvc exp remove {own.name}` forgets the one, "
                "deleting the row the other."
            )
    return Done(runs, sorted(disagreements))
