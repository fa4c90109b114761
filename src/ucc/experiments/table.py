"""From finished runs to a table: mean and spread over seeds, and what is missing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean, stdev

from ucc.experiments.finished import Finished
from ucc.experiments.plan import Plan, Run, flatten, identity
from ucc.experiments.recorded import PARAMETERS, record

CELL_COLUMNS = ("arm", "column", "mean", "sd", "runs", "seeds", "paper")


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
        if not self.complete:
            return f"missing ({sum(v is not None for v in self.values)} of {len(self.values)})"
        spread = "" if self.sd is None else f" ± {self.sd:.1f}"
        return f"{self.mean:.1f}{spread} ({len(self.values)})"


def cells(plan: Plan, finished: Mapping[str, Finished]) -> list[Cell]:
    """Every cell of the plan's table, row by row."""
    runs = {(run.arm, run.column, run.seed): run for run in plan.runs}
    table = []
    for arm in plan.arms:
        for column in plan.columns:
            of_cell = [runs[arm, column, seed] for seed in plan.seeds]
            values = tuple(_miou(run, finished) for run in of_cell)
            table.append(Cell(arm, column, values, _paper(plan, of_cell[0])))
    return table


def run_rows(plan: Plan, finished: Mapping[str, Finished]) -> list[dict[str, str | int | float]]:
    """One row a run for the CSV: what it was, mIoU in percent of every predictor, commit and state of the code."""
    rows: list[dict[str, str | int | float]] = []
    for run in plan.runs:
        row: dict[str, str | int | float] = {"arm": run.arm, "column": run.column, "seed": run.seed}
        key = identity(asdict(run.params))
        if done := finished.get(key):
            row |= {**record(done), PARAMETERS: key}
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
    lines += [
        "mIoU in percent on the images that `partition` measures on, head 1 after the last step: mean ± sample "
        f"standard deviation (number of runs). Seeds of training: {', '.join(map(str, plan.seeds))}.",
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
    return "\n".join(lines) + "\n"


def _with_paper(cell: Cell) -> str:
    # As a formula, because GitHub leaves out the colours of HTML.
    return cell.text + (rf" $\color{{grey}}{{\textsf{{{cell.paper:.2f}}}}}$" if cell.paper is not None else "")


def _miou(run: Run, finished: Mapping[str, Finished]) -> float | None:
    done = finished.get(identity(asdict(run.params)))
    return float(done.evaluation["head_1"]["miou"]) if done else None


def _paper(plan: Plan, run: Run) -> float | None:
    """The paper's figure for a run, if the run follows its protocol."""
    if plan.paper is None:
        return None
    params = flatten(asdict(run.params))
    if any(params.get(key) != value for key, value in plan.paper.protocol.items()):
        return None
    return plan.paper.figures.get(run.arm, {}).get(run.column)
