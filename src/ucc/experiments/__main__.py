"""`python -m ucc.experiments queue|table FILE [key=value ...]`: run an experiment file, and write its table.

`queue` puts every run that is neither done nor waiting into DVC's queue; `dvc queue start -j N` then works it off.
After an interruption the same two commands go on. `table` writes what is done: results/<file>.md, .table.csv and .svg
are the table, .csv its runs, .params.yaml their parameters. A run whose row stands in a results/*.csv is done, wherever
it was made; without the row it is made again.
"""

import argparse
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import yaml

from ucc.errors import UserError
from ucc.experiments.finished import Finished, finished_runs, queued_runs
from ucc.experiments.plan import Plan, differences, exact_params, identity, read_plan, run_tag
from ucc.experiments.recorded import COLUMNS, lost_rows, recorded_runs
from ucc.experiments.table import CELL_COLUMNS, cell_rows, cells, markdown, run_rows
from ucc.files import write_csv, write_text
from ucc.params import load_params

RESULTS = Path("results")


def queue(plan: Plan) -> None:
    """Queue what is neither done nor waiting; prints one line a run."""
    finished, present = done_runs(), load_params()
    waiting = queued_runs(_dvc("queue", "status"))
    added = 0
    for run in plan.runs:
        done = finished.get(identity(asdict(run.params)))
        if done:
            print(f"done     {run.name}: mIoU {done.evaluation['head_1']['miou']:.2f} ({done.revision})")
        elif name := waiting.get(run_tag(run.name)):
            print(f"waiting  {run.name}" + (f": the same run as {name}" if name != run.name else ""))
        else:
            changes = [argument for change in differences(run.params, present) for argument in ("-S", change)]
            # Up to the figures; `dvc exp apply` and `dvc repro` export the one that is wanted.
            _dvc("exp", "run", "--queue", "--name", run.name, *changes, "evaluate")
            waiting[run_tag(run.name)] = run.name
            added += 1
            print(f"queued   {run.name}", flush=True)
    print(f"{added} of {len(plan.runs)} runs queued. Start them with: dvc queue start -j 1")


def table(plan: Plan) -> None:
    """Write the table in three forms and the parameters of its runs, and print it."""
    from ucc.experiments.plot import plot  # matplotlib takes a second to import, which queueing need not wait for

    finished = done_runs()
    filled, rows = cells(plan, finished), run_rows(plan, finished)
    path = RESULTS / f"{plan.name}.csv"
    if lost := lost_rows(path, rows):
        raise UserError(
            f"{path}: holds figures of {len(lost)} runs that were made with other parameters than are asked for now: "
            f"{', '.join(lost)}. Delete these lines (git keeps them), and the table shows the runs as missing."
        )
    text = markdown(plan, filled, finished)
    write_text(RESULTS / f"{plan.name}.md", text)
    write_csv(path, rows, COLUMNS)
    write_csv(path.with_suffix(".table.csv"), cell_rows(filled), CELL_COLUMNS)
    write_text(RESULTS / f"{plan.name}.params.yaml", yaml.safe_dump(exact_params(plan), sort_keys=False))
    plot(plan, filled, RESULTS / f"{plan.name}.svg")
    print(text)
    missing = sum(value is None for cell in filled for value in cell.values)
    print(
        f"wrote {RESULTS / plan.name}.md, .table.csv, .svg, .csv, .params.yaml"
        + (f"; {missing} runs are missing" if missing else "")
    )


def done_runs() -> dict[str, Finished]:
    """Runs of this clone and, below them, those that results/ records."""
    return recorded_runs(RESULTS) | finished_runs(Path())


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ucc.experiments", description=__doc__)
    parser.add_argument("command", choices=["queue", "table"])
    parser.add_argument("file", type=Path, help="experiments/*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="applied to every run")
    options = parser.parse_args(arguments)
    plan = read_plan(options.file, options.overrides)
    {"queue": queue, "table": table}[options.command](plan)


def _dvc(*arguments: str) -> str:
    result = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"dvc {' '.join(arguments[:2])} failed: {result.stderr.strip()}")
    return result.stdout


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
