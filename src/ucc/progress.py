"""Work on many files, and how far it is, for whoever waits for it."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress:
    """One line on stderr: rewritten in place in a terminal, repeated every ten seconds in a log."""

    def __init__(self, label: str, total: int, unit: str = "images") -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.start = self.last = time.monotonic()

    def advance(self) -> None:
        """One more is done."""
        self.done += 1
        now, terminal, finished = time.monotonic(), sys.stderr.isatty(), self.done >= self.total
        if not (terminal or finished) and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        line = f"{self.label} {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s"
        # The carriage return goes first, so that the line stays visible; \x1b[K clears a longer line's rest.
        text = f"\r{line}\x1b[K" if terminal else line
        print(text, end="\n" if finished or not terminal else "", file=sys.stderr, flush=True)


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
