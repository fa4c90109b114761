"""How far work on many files, or a training, is, and how fast, for whoever waits for it."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ucc.output import tell

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
        self._open = False

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
        self._open = terminal and not finished
        tell(text, end="" if self._open else "\n", error=True)

    def end(self) -> None:
        """No more will come: what is printed next begins a line of its own, though not all may be done."""
        if self._open:
            tell("", error=True)
            self._open = False

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


class TrainingProgress:
    """What a person watching wants to see: step, losses, learning rate, speed, time left.

    `images` gives the number of images of a step, counted from 0, of all processes together. Speed is that of training
    alone, what happens `apart` from it left out, and waiting for data is a part of it.
    """

    def __init__(self, steps: int, images: Callable[[int], int], start: int) -> None:
        self._steps, self._images, self._start = steps, images, start
        self._begun = time.monotonic()
        self._apart = self._waited = 0.0
        self._shown = (start, self._begun, self._apart, self._waited)

    def timed(self, batches: Iterator[Item]) -> Iterator[Item]:
        """The same batches, with note taken of how long each was waited for."""
        while True:
            begun = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += time.monotonic() - begun
            yield batch

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What happens here, such as validation, is no training."""
        begun = time.monotonic()
        yield
        self._apart += time.monotonic() - begun

    def show(self, row: Mapping[str, float | int]) -> None:
        """Print one line for a row of the history: figures since the line before, time left by all since the start."""
        step, now = int(row["step"]), time.monotonic()
        shown, since, apart, waited = self._shown
        self._shown = (step, now, self._apart, self._waited)
        seconds = max(1e-9, now - since - (self._apart - apart))
        figures = "  ".join(
            f"{name} {value:.2f}" if name.startswith("val_") else f"{name} {value:.4g}"
            for name, value in row.items()
            if name != "step"
        )
        left = (now - self._begun) / max(1, step - self._start) * (self._steps - step)
        tell(
            f"step {step}/{self._steps}  {figures}  {self._images_of(shown, step) / seconds:.1f} images/s  "
            f"{(self._waited - waited) / seconds:.0%} waiting for data  {_duration(left)} left"
        )

    def speed(self, step: int) -> dict[str, float | int]:
        """Since the start: steps, images per second of training, and the share of its seconds spent on waiting."""
        seconds = max(1e-9, time.monotonic() - self._begun - self._apart)
        return {
            "steps": step - self._start,
            "images_per_second": round(self._images_of(self._start, step) / seconds, 2),
            "waiting_for_data": round(self._waited / seconds, 4),
        }

    def _images_of(self, start: int, stop: int) -> int:
        return sum(map(self._images, range(start, stop)))
