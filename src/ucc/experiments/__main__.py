"""`python -m ucc.experiments queue|table FILE [key=value ...]`: run an experiment file, and write its table.

`queue` puts every run that is neither done nor waiting into DVC's queue; `dvc queue start -j N` then works it off.
After an interruption the same two commands go on. `table` writes what is done: results/<file>.md, .table.csv and .svg
are the table, .csv its runs, .params.yaml their parameters. A run whose row stands in a results/*.csv is done, wherever
it was made. To make it again, delete the row, and in the clone that made it `dvc exp remove` the experiment.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from ucc.errors import UserError, every, refused
from ucc.experiments.done import done_runs
from ucc.experiments.finished import Finished, queued_runs, waiting_runs
from ucc.experiments.identity import identity, run_tag
from ucc.experiments.plan import Plan, differences, exact_params, read_plan
from ucc.experiments.present import PresentData
from ucc.experiments.recorded import COLUMNS, lost_rows
from ucc.experiments.table import CELL_COLUMNS, cell_rows, cells, markdown, require_same_data, run_rows
from ucc.files import write_csv, write_text
from ucc.params import load_params

RESULTS = Path("results")


def queue(plan: Plan) -> None:
    """Queue what is neither done nor waiting; prints one line a run."""
    finished, data = _done(), PresentData.read(load_params(), Path())
    status = _dvc("queue", "status")
    waiting, added = queued_runs(status), 0
    for run in plan.runs:
        done = finished.get(identity(asdict(run.params)))
        if done:
            print(f"done     {run.name}: mIoU {done.figures['head_1']:.2f} ({done.revision})")
        elif name := waiting.get(run_tag(run.name)):
            print(f"waiting  {run.name}" + (f": the same run as {name}" if name != run.name else ""))
        else:
            changes = [argument for change in differences(run.params, data.params) for argument in ("-S", change)]
            # Up to the figures; `dvc exp apply` and `dvc repro` export the one that is wanted.
            _dvc("exp", "run", "--queue", "--name", run.name, *changes, "evaluate")
            waiting[run_tag(run.name)] = run.name
            added += 1
            print(f"queued   {run.name}", flush=True)
    _tell_outdated(plan, finished, data)
    _tell_unasked(plan, waiting_runs(status))
    print(f"{added} of {len(plan.runs)} runs queued. Start them with: dvc queue start -j 1")


def table(plan: Plan) -> None:
    """Write the table in three forms and the parameters of its runs, and print it."""
    from ucc.experiments.plot import plot  # matplotlib takes a second to import, which queueing need not wait for

    finished, data = _done(), PresentData.read(load_params(), Path())
    require_same_data(plan, finished)
    filled, rows = cells(plan, finished), run_rows(plan, finished)
    path = RESULTS / f"{plan.name}.csv"
    if lost := lost_rows(path, rows):
        raise UserError(
            f"{path}: holds figures of {len(lost)} runs that {plan.name}.yaml, as it is now asked for, does not: "
            f"{', '.join(lost)}. Give the file another name to keep both, or delete these lines; git keeps them."
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
    _tell_outdated(plan, finished, data)


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ucc.experiments", description=__doc__)
    parser.add_argument("command", choices=["queue", "table"])
    parser.add_argument("file", type=Path, help="experiments/*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="applied to every run")
    options = parser.parse_args(arguments)
    plan = read_plan(options.file, options.overrides)
    {"queue": queue, "table": table}[options.command](plan)


def _done() -> Mapping[str, Finished]:
    done = done_runs(RESULTS, Path())
    for line in done.disagreements:
        print(f"note: {line}", file=sys.stderr)
    return done.runs


def _tell_outdated(plan: Plan, finished: Mapping[str, Finished], data: PresentData) -> None:
    runs = [(run.params, finished.get(identity(asdict(run.params)))) for run in plan.runs]
    if outdated := [done.name for params, done in runs if done and data.differ(params, done)]:
        print(
            f"note: made with other images, masks or lists of ids than the project holds now: {every(outdated)}. To "
            f"make such a run again, `dvc exp remove` it and delete its row in {RESULTS}, if it has one; to keep it "
            "beside new ones, give a changed list another name.",
            file=sys.stderr,
        )


def _tell_unasked(plan: Plan, waiting: Sequence[str]) -> None:
    asked = {run_tag(run.name) for run in plan.runs}
    if unasked := [name for name in waiting if plan.named(name) and run_tag(name) not in asked]:
        print(
            f"note: waiting in the queue, though {plan.name}.yaml, as it is now asked for, does not ask for them: "
            f"{every(unasked)}. To take them out: dvc queue remove {' '.join(unasked)}",
            file=sys.stderr,
        )


def _dvc(*arguments: str) -> str:
    """What DVC prints. Ctrl-C waits for it, since it keeps the user's changes in a stash while it queues a run."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the terminal's Ctrl-C does not reach it
    )
    try:
        output, errors = process.communicate()
    except KeyboardInterrupt:
        process.communicate()
        raise
    if process.returncode:
        raise UserError(f"dvc {' '.join(arguments[:2])} failed: {errors.strip()}")
    return output


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if words := refused(error):
            sys.exit(f"error: {words}")
        raise
    except KeyboardInterrupt:
        sys.exit(130)
