"""`dvc repro` killed at chosen moments: does the next one end as if nothing had happened?

    python tests/faults.py [--kills 20] [--seed 0] [--jobs 1]

kills a tiny pipeline at that many random moments, one in each equal part of its whole duration, each time in a fresh
copy of the project: every third time DVC alone, whose stage lives on, otherwise DVC with its stage. Moments are
seconds of the processors' time, so that they mean the same on a busy machine. It prints a line for each, and exits
with 1 if a metric or the hash of a result differs from those of an undisturbed run.
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from clones import Clone, make_clone

STEPS = {"steps": 12, "supervised_warmup": 2, "val_every": 4, "checkpoint_every": 1}
REFUSED = "is training this very run"
# Runs in every Python of the clone. A rename is what makes a result appear: just before it, all is at stake.
SITE = """
import os, pathlib, signal, sys
def hook(event, arguments):
    if event == "os.rename" and "KILL_BEFORE" in os.environ:
        mark = pathlib.Path(os.environ["KILL_MARK"])
        if pathlib.Path(os.fspath(arguments[1])).name == os.environ["KILL_BEFORE"] and not mark.exists():
            mark.touch()
            os.killpg(0, signal.SIGKILL)
sys.addaudithook(hook)
"""


def make_victim(base: Path) -> Clone:
    """A tiny project in which nothing has been run."""
    return make_clone(base, train=STEPS)


def prepare_kills(clone: Clone) -> Clone:
    """Make `kill_before` possible in a project."""
    (clone.root / "src/sitecustomize.py").write_text(SITE, encoding="utf-8")
    with (clone.root / ".git/info/exclude").open("a", encoding="utf-8") as out:
        out.write("src/sitecustomize.py\n")
    return clone


def start(clone: Clone, *arguments: str, log: Path, **variables: str) -> "subprocess.Popen[bytes]":
    """`dvc repro`, writing to `log`, as the leader of a process group of its own."""
    with log.open("w") as out:
        return subprocess.Popen(
            ["dvc", "repro", *arguments],
            cwd=clone.root,
            env=clone.environment | {"PYTHONUNBUFFERED": "1"} | variables,  # what a killed process said is there
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill_before(clone: Clone, name: str, mark: Path) -> None:
    """Run `dvc repro` until something is about to be renamed to `name`, and kill it there; `mark` must not exist."""
    log = mark.with_suffix(".log")
    process = start(clone, log=log, KILL_BEFORE=name, KILL_MARK=str(mark))
    process.wait()
    assert mark.exists(), f"nothing was renamed to {name}:\n{log.read_text(encoding='utf-8')}"
    assert process.returncode == -signal.SIGKILL


def kill_after(clone: Clone, seconds: float, alone: bool, log: Path) -> str:
    """Run `dvc repro` for so many seconds of processor time and kill it, `alone` or with its stage; what it wrote."""
    process = start(clone, log=log)
    while process.poll() is None:
        if processor_time(process.pid) >= seconds:
            (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.01)
    return log.read_text(encoding="utf-8")


def processor_time(pid: int) -> float:
    """Seconds that a process, its children and those of them that have ended have taken."""
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        return sum(sum(process.cpu_times()[:4]) for process in (leader, *leader.children(recursive=True)))
    return 0.0


def repro_until_done(clone: Clone, *arguments: str, orphan: bool) -> tuple[str, int]:
    """The output of the first `dvc repro` that succeeds, and how many came to nothing because a trainer lived."""
    refused = 0
    while True:
        done = clone.run("dvc", "repro", *arguments)
        if done.returncode == 0:
            return done.stdout, refused
        assert orphan, done.stdout
        assert REFUSED in done.stdout, done.stdout
        refused += 1
        time.sleep(1)


def leftovers(clone: Clone) -> list[str]:
    """What is half written in the project, outside the caches of git and DVC."""
    found = [path.relative_to(clone.root) for path in clone.root.rglob(".*.partial.*")]
    return sorted(path.as_posix() for path in found if path.parts[0] not in (".git", ".dvc"))


def main() -> None:
    """Kill, compare, report."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    os.environ["UCC_RUNTIME"] = "host"  # the time of what runs in a container is not that of a child
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        fresh = make_victim(base / "fresh")
        undisturbed = fresh.copy(base / "undisturbed")
        begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        undisturbed.succeed("dvc", "repro")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        duration = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        expected = undisturbed.hashes()
        print(
            f"undisturbed: {duration:.1f} s, by the clock {time.monotonic() - begun:.1f} s, {len(expected)} files",
            flush=True,
        )
        rng = random.Random(options.seed)
        moments = [(n + rng.random()) / options.kills * duration for n in range(options.kills)]
        with ThreadPoolExecutor(options.jobs) as pool:
            cases = [Case(fresh, base / f"kill_{n}", n, moment) for n, moment in enumerate(moments, start=1)]
            outcomes = list(pool.map(lambda case: case.run(expected), cases))
    print(f"{sum(outcomes)} of {len(outcomes)} ended as the undisturbed run")
    sys.exit(not all(outcomes))


@dataclass(frozen=True)
class Case:
    """One kill of the script."""

    fresh: Clone
    base: Path
    number: int
    moment: float

    def run(self, expected: dict[str, str]) -> bool:
        """Kill a fresh copy, repeat, compare, say how it went; whether everything is as expected."""
        clone, alone = self.fresh.copy(self.base), self.number % 3 == 0
        output = kill_after(clone, self.moment, alone, self.base / "log")
        stage = (re.findall(r"Running stage '(\w+)'", output) or ["none"])[-1]
        begun = time.monotonic()
        try:
            _, refused = repro_until_done(clone, orphan=alone)
            found = clone.hashes()
            wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            wrong += leftovers(clone)
        except AssertionError as error:
            wrong, refused = [str(error)], 0
        print(
            f"{self.number:3d}  killed {'DVC alone' if alone else 'all'} at {self.moment:5.1f} s in {stage}; "
            f"refused {refused} times; next repro {time.monotonic() - begun:5.1f} s; "
            f"{'as undisturbed' if not wrong else f'DIFFERENT: {wrong}'}",
            flush=True,
        )
        shutil.rmtree(self.base, ignore_errors=True)
        return not wrong


if __name__ == "__main__":
    main()
