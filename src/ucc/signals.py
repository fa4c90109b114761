"""Ctrl-C, SIGTERM and a closed terminal while training: the step is finished, its checkpoint written, then it ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ucc.output import tell, to_nowhere

# SLURM signals a launcher and the processes that it started; the launcher passes on to them what it got.
SECONDS_OF_ONE_REQUEST = 5.0


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
    """Note the first SIGTERM, SIGINT or SIGHUP in place of ending at once; the second ends the process as ever.

    SIGHUP stays ignored where it is, as under nohup. Under torchrun the second one counts after some seconds only.
    """
    request = StopRequest()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    terminals = [number for number in (1, 2) if os.isatty(number)]
    first: float | None = None

    def note(number: int, _: FrameType | None) -> None:
        nonlocal first
        if first is None:
            request.signal, first = number, time.monotonic()
            if not _under_a_launcher():
                restore()
            _leave_closed(terminals)
            with suppress(RuntimeError):  # it came while another line was being written there
                tell("stopping after this step; once more to stop at once", error=True)
        elif time.monotonic() - first > SECONDS_OF_ONE_REQUEST:
            restore()
            signal.raise_signal(number)

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


def _under_a_launcher() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _leave_closed(terminals: list[int]) -> None:
    """Write to nowhere in place of terminals that are none any more: whatever is written there is an error."""
    for number in terminals:
        if not os.isatty(number):
            to_nowhere(number)
