"""Whose turn it is: as many requests at work as there are slots, and a bounded queue, first come, first served."""

import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request

from ucc.serve.limits import Limits, RefusedError

Result = TypeVar("Result")
# How much the last request counts in the moving average of the seconds that one takes.
RECENT = 0.2


class Slots:
    """Threads for the work of requests. For one event loop.

    Attributes:
        working: requests that have a slot.
        waiting: requests that wait for one.
        threads: of work that goes on, also when nobody waits for it any more.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = anyio.Semaphore(limits.concurrency, max_value=limits.concurrency)
        self._threads: anyio.CapacityLimiter | None = None
        self._seconds = 0.0
        self.working = 0
        self.waiting = 0
        self.threads: set[int] = set()

    def check_room(self) -> None:
        """Refuse a request for which there is neither a slot nor a place in the queue.

        Raises:
            RefusedError: 503, with the seconds after which the queue should be shorter.
        """
        if self.working >= self._limits.concurrency and self.waiting >= self._limits.waiting:
            raise self._busy(f"{self.working} requests are at work and {self.waiting} wait")

    async def run(self, request: Request, work: Callable[[], Result]) -> Result:
        """What `work` returns, called in a thread once it is the request's turn.

        A request whose client hangs up while it waits gives its place away; work that has begun ends by itself. If the
        call is cancelled, the thread goes on, and what it finds is lost.

        Raises:
            RefusedError: 503 if the queue is full or it has taken too long, 400 if the client hung up, and what `work`
                raises.
        """
        self.check_room()
        async with self._slot(request):
            begin = time.monotonic()
            if self._threads is None:
                self._threads = anyio.CapacityLimiter(self._limits.concurrency)
            try:
                return await run_sync(self._at_work, work, limiter=self._threads, abandon_on_cancel=True)
            finally:
                spent = time.monotonic() - begin
                self._seconds += (spent - self._seconds) * (RECENT if self._seconds else 1)

    def _at_work(self, work: Callable[[], Result]) -> Result:
        thread = threading.get_ident()
        self.threads.add(thread)
        try:
            return work()
        finally:
            self.threads.discard(thread)

    @asynccontextmanager
    async def _slot(self, request: Request) -> AsyncIterator[None]:
        acquired = False
        try:
            self.waiting += 1
            try:
                with anyio.move_on_after(self._limits.queue_seconds) as patience:
                    async with anyio.create_task_group() as group:
                        group.start_soon(_cancel_once_gone, request, group.cancel_scope)
                        await self._free.acquire()
                        acquired = True
                        group.cancel_scope.cancel()
            finally:
                self.waiting -= 1
            if not acquired and patience.cancelled_caught:
                raise self._busy(f"it was not its turn within {self._limits.queue_seconds:g} seconds")
            if not acquired:
                raise RefusedError(400, "The client hung up before it was its turn.")
            self.working += 1
            try:
                yield
            finally:
                self.working -= 1
        finally:
            if acquired:
                self._free.release()

    def _busy(self, why: str) -> RefusedError:
        rounds = 1 + self.waiting / self._limits.concurrency
        seconds = max(1, math.ceil(rounds * self._seconds))
        return RefusedError(503, f"Busy: {why}; try again in {seconds} s.", {"Retry-After": str(seconds)})


async def _cancel_once_gone(request: Request, scope: anyio.CancelScope) -> None:
    """Wait until the client has hung up; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
