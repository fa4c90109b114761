"""What one request may ask for, and all of them together; how a request that asks for more is refused."""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ucc.errors import UserError

# Where Linux tells the share of a container, by the version of its control groups: microseconds of CPU in each period.
CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores that this process may run on: those that it is bound to, or its container's share, rounded up."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores, math.ceil(_quota() or cores))


def _quota() -> float | None:
    """The container's share in cores; None if it has all that there are."""
    try:
        if (unified := CGROUP / "cpu.max").is_file():
            quota, period = unified.read_text("ascii").split()
        else:
            quota, period = ((CGROUP / f"cpu/cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # no Linux, no control groups, or "max"
        return None


@dataclass(frozen=True)
class Limits:
    """Bounds of the service.

    Attributes:
        body: bytes of one request's body, refused while they arrive.
        pixels: of one picture, or of all images of a tensor; refused before anything is decoded, since a PNG of some
            kilobytes may declare a hundred million of them.
        concurrency: requests computed at once, each on one thread.
        queue: requests that wait for their turn beyond these; 0 leaves four times `concurrency`.
        held: bytes of all requests' bodies in memory together, and again of all answers that are not taken yet.
        body_seconds: for a body to arrive.
        queue_seconds: for a request to wait for its turn.
    """

    body: int = 20_000_000
    pixels: int = 16_000_000
    concurrency: int = field(default_factory=usable_cores)
    queue: int = 0
    held: int = 500_000_000
    body_seconds: float = 30
    queue_seconds: float = 60

    @property
    def waiting(self) -> int:
        """Requests that may wait."""
        return self.queue or 4 * self.concurrency


class RefusedError(Exception):
    """A request that is answered with `status`, one message as JSON, and `headers`."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class NoMemoryError(RefusedError):
    """A request that needs more memory than there is."""

    def __init__(self, message: str) -> None:
        super().__init__(413, message)


@contextmanager
def out_of_memory_refused() -> Iterator[None]:
    """Refuse what needs more memory than there is; where onnxruntime finds that, it is a UserError."""
    try:
        yield
    except UserError as error:
        raise NoMemoryError(str(error)) from error
    except MemoryError as error:
        raise NoMemoryError("Not enough memory for that; send a smaller picture or fewer of them.") from error
