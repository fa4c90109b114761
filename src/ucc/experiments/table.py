"""From finished runs to a table: mean and spread over seeds, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev

from ucc.errors import UserError
from ucc.experiments.finished import OF_LABELS, Finished
from ucc.experiments.identity import flatten, identity, placeless
from ucc.experiments.plan import Plan, Run
from ucc.experiments.recorded import PARAMETERS, record

CELL_COLUMNS = ("arm", "column", "mean", "sd", "runs", "seeds", "paper")
# What a run was measured by beside head 1, and how the table calls it.
BESIDE = {
    "head_2": "head 2",
    "mean": "mean of the heads",
    "best": "head 1, best on val",
    "pseudo_head_1": "labels of head 1",
    "pseudo_head_2": "labels of head 2",
    "collapsed": "collapsed",
    "more_certain": "surer head right",
    "less_certain": "other head right",
}
# What must be said of some of these figures where they stand in a table.
EXPLAINED = {
    ("best",): "Best on val flatters itself, and is of whole images, not windows.",
    ("pseudo_head_1", "pseudo_head_2"): "Labels: mIoU of what a head would teach on unlabelled images whose masks were "
    "hidden from training.",
    ("collapsed",): "Collapsed: share of these images that head 1 takes as a whole for one class.",
    ("more_certain", "less_certain"): "Right: share of the pixels there on which the heads disagree.",
}
SPLITS = {"val": "on the images that `partition` measures on", "test": "on the images of test"}
CHECKPOINTS = {"final": "after the last step", "best": "of the checkpoint that was best on val"}


@dataclass(frozen=True)
class Cell:
    """The runs of one arm in one column: mIoU of head 1 in percent for each seed, None where the run is missing."""

    arm: str
    column: str
    values: tuple[float | None, ...]
    paper: float | None

    @property
    def complete(self) -> bool:
        """Whether every seed has its run."""
        return None not in self.values

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None while one is missing, so that no cell averages over fewer in silence."""
        return mean(v for v in self.values if v is not None) if self.complete else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds; None for one seed or while one is missing."""
        return stdev(v for v in self.values if v is not None) if self.complete and len(self.values) > 1 else None

    @property
    def text(self) -> str:
        """`51.2 ± 0.8 (3)`, or how many runs of how many there are."""
        if self.mean is None:
            return f"missing ({sum(v is not None for v in self.values)} of {len(self.values)})"
        spread = "" if self.sd is None else f" ± {self.sd:.1f}"
        return f"{self.mean:.1f}{spread} ({len(self.values)})"


def require_same_data(plan: Plan, finished: Mapping[str, Finished]) -> None:
    """No mean may run over different data: what asks for one data set and partition must have been given one.

    Raises:
        UserError: naming two runs whose manifests or data sets differ though their parameters do not.
    """
    first: dict[str, tuple[Run, Finished]] = {}
    for run in plan.runs:
        if done := finished.get(identity(asdict(run.params))):
            told = placeless(asdict(run.params)).items()
            key = str([(name, value) for name, value in told if name.startswith(("dataset.", "partition."))])
            other, measured = first.setdefault(key, (run, done))
            if measured.manifest != done.manifest:
                raise UserError(
                    f"{plan.name}: {other.name} was made with partition {measured.manifest} and {run.name} with "
                    f"{done.manifest}, of the same parameters: their data differ, in dataset.root or a list of ids. "
                    "Make one of them again."
                )
            # Files of a user's own may have changed under the same names; those of public data sets do not.
            if run.params.dataset.name == "folder" and measured.data and done.data and measured.data != done.data:
                raise UserError(
                    f"{plan.name}: {other.name} and {run.name} were made with other images or masks, of the same "
                    f"parameters: {measured.data} and {done.data} in their dvc.lock. Make one of them again."
                )


def cells(plan: Plan, finished: Mapping[str, Finished], figure: str = "head_1") -> list[Cell]:
    """Every cell of the plan's table, row by row; `figure` is one of `FIGURES`, and the paper's are of head 1."""
    runs = {(run.arm, run.column, run.seed): run for run in plan.runs}
    table = []
    for arm in plan.arms:
        for column in plan.columns:
            of_cell = [runs[arm, column, seed] for seed in plan.seeds]
            values = tuple(_figure(run, finished, figure) for run in of_cell)
            table.append(Cell(arm, column, values, _paper(plan, of_cell[0]) if figure == "head_1" else None))
    return table


def run_rows(plan: Plan, finished: Mapping[str, Finished]) -> list[dict[str, str | int | float]]:
    """One row a run for the CSV: what it was, every figure in percent, partition, commit and state of the code."""
    rows: list[dict[str, str | int | float]] = []
    for run in plan.runs:
        row: dict[str, str | int | float] = {"arm": run.arm, "column": run.column, "seed": run.seed}
        key = identity(asdict(run.params))
        if done := finished.get(key):
            row |= {**record(done, run.params.evaluate.pseudo_label_images), PARAMETERS: key}
        rows.append(row)
    return rows


def cell_rows(table: list[Cell]) -> list[dict[str, str | int | float]]:
    """One row a cell for the CSV, with `CELL_COLUMNS`; mean, spread and the paper's figure where there are such."""
    rows = []
    for cell in table:
        row: dict[str, str | int | float] = {"arm": cell.arm, "column": cell.column, "seeds": len(cell.values)}
        row["runs"] = sum(value is not None for value in cell.values)
        figures = {"mean": cell.mean, "sd": cell.sd, "paper": cell.paper}
        rows.append(row | {name: round(value, 4) for name, value in figures.items() if value is not None})
    return rows


def markdown(plan: Plan, table: list[Cell], finished: Mapping[str, Finished]) -> str:
    """The table as Markdown, with the paper's figures in grey where its protocol is ours, and what to know about it."""
    lines = [f"# {plan.title}", "", *([plan.note.strip(), ""] if plan.note else [])]
    which = {CHECKPOINTS[run.params.evaluate.checkpoint] for run in plan.runs}
    where = {SPLITS[run.params.evaluate.split] for run in plan.runs}
    lines += [
        f"mIoU in percent {' or '.join(sorted(where))}, head 1 {' or '.join(sorted(which))}: mean ± "
        f"sample standard deviation (number of runs). Seeds of training: {', '.join(map(str, plan.seeds))}.",
        "",
        "| | " + " | ".join(plan.columns) + " |",
        "|---" * (len(plan.columns) + 1) + "|",
    ]
    by_place = {(cell.arm, cell.column): cell for cell in table}
    for arm in plan.arms:
        texts = [_with_paper(by_place[arm, column]) for column in plan.columns]
        lines.append(f"| {arm} | " + " | ".join(texts) + " |")
    if any(cell.paper is not None for cell in table):
        lines += ["", "In grey: the figure of the paper, whose protocol is the same."]
    codes = {f.code for run in plan.runs if (f := finished.get(identity(asdict(run.params))))}
    if len(codes) > 1:
        lines += ["", f"The runs come from {len(codes)} states of the source code: {', '.join(sorted(codes))}."]
    return "\n".join([*lines, *_beside(plan, finished)]) + "\n"


def _beside(plan: Plan, finished: Mapping[str, Finished]) -> Sequence[str]:
    """A second table: what else is known of the runs; what only some runs of a cell have is left out."""
    by_figure = {name: cells(plan, finished, name) for name in BESIDE}
    shown = {name: column for name, column in by_figure.items() if any(cell.complete for cell in column)}
    if not shown:
        return ()
    lines = [
        "",
        " ".join(
            ["The same runs by other measures.", *(text for names, text in EXPLAINED.items() if shown.keys() & names)]
        ),
        "",
        "| | " + " | ".join(BESIDE[name] for name in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for row in zip(*shown.values(), strict=True):
        if any(cell.complete for cell in row):
            name = f"{row[0].arm}, {row[0].column}" if len(plan.columns) > 1 else row[0].arm
            lines.append(f"| {name} | " + " | ".join(cell.text if cell.complete else "" for cell in row) + " |")
    return lines


def _with_paper(cell: Cell) -> str:
    # As a formula, because GitHub leaves out the colours of HTML.
    return cell.text + (rf" $\color{{grey}}{{\textsf{{{cell.paper:.2f}}}}}$" if cell.paper is not None else "")


def _figure(run: Run, finished: Mapping[str, Finished], figure: str) -> float | None:
    done = finished.get(identity(asdict(run.params)))
    if done is None:
        return None
    asked = run.params.evaluate.pseudo_label_images
    return (done.labels.get(asked, {}) if figure in OF_LABELS else done.figures).get(figure)


def _paper(plan: Plan, run: Run) -> float | None:
    """The paper's figure for a run, if the run follows its protocol."""
    if plan.paper is None or not run.as_written:
        return None
    params = flatten(asdict(run.params))
    if any(params.get(key) != value for key, value in plan.paper.protocol.items()):
        return None
    return plan.paper.figures.get(run.arm, {}).get(run.column)
