"""Work on many files, and how far it is, for whoever waits for it."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

SECONDS_BETWEEN_LINES = 10.0
BAR = 20

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress:
    """One line on stderr with the time left: in a terminal rewritten, with a bar; every ten seconds in a log."""

    def __init__(self, label: str, total: int | None, unit: str = "images", per_unit: int = 1, done: int = 0) -> None:
        """Start at `done` of `total` things, None if nobody knows how many; `per_unit` of them are one `unit`."""
        self.label, self.total, self.unit, self.per_unit = label, total, unit, per_unit
        self.first = self.done = done
        self.start = self.last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        self.done += count
        now, terminal = time.monotonic(), sys.stderr.isatty()
        finished = self.total is not None and self.done >= self.total
        if not (terminal or finished) and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        line = self._line(now - self.start, bar=terminal)
        # The carriage return goes first, so that the line stays visible; \x1b[K clears a longer line's rest.
        text = f"\r{line}\x1b[K" if terminal else line
        print(text, end="\n" if finished or not terminal else "", file=sys.stderr, flush=True)

    def _line(self, seconds: float, bar: bool) -> str:
        rate = (self.done - self.first) / max(seconds, 1e-9)
        told = f"{rate / self.per_unit:.1f} {self.unit}/s"
        if self.total is None:
            return f"{self.label} {self.done // self.per_unit} {self.unit}, {told}"
        filled = min(BAR, BAR * self.done // max(self.total, 1))
        drawn = f" [{'#' * filled}{'.' * (BAR - filled)}]" if bar else ""
        if self.done < self.total and rate:
            told += f", {_duration((self.total - self.done) / rate)} left"
        return f"{self.label}{drawn} {self.done // self.per_unit}/{self.total // self.per_unit} {self.unit}, {told}"


def _duration(seconds: float) -> str:
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def read_parallel(read: Callable[[Item], Result], items: Sequence[Item], label: str) -> list[Result]:
    """`[read(item) for item in items]` on a few threads, with a line of progress.

    Threads suffice: decoding and hashing release the interpreter's lock.
    """
    results: list[Result] = []
    progress = Progress(label, len(items))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(read, items):
            results.append(result)
            progress.advance()
    return results
