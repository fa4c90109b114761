"""Ctrl-C and SIGTERM while training: the step is finished, its checkpoint written, then the process ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedError(Exception):
    """A signal ended the work, which goes on from its checkpoint at the next start."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.status = 128 + number


class StopRequest:
    """Which signal asked this process to stop, if one did."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def raise_after(self, step: int) -> None:
        """Raises StoppedError if a stop was asked for; call it where the checkpoint of `step` is written."""
        if self.signal is not None:
            name = signal.Signals(self.signal).name
            raise StoppedError(self.signal, f"{name}: stopped after step {step}; the next start goes on from there.")


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT in place of ending at once; the second ends the process as ever."""
    request = StopRequest()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def note(number: int, _: FrameType | None) -> None:
        request.signal = number
        restore()
        print("stopping after this step; once more to stop at once", file=sys.stderr, flush=True)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        before = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread: there, signals are another's business
        before = {}
    try:
        yield request
    finally:
        restore()
