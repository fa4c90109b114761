"""The service as a process: it listens, and on SIGTERM or Ctrl-C finishes what has begun before it ends."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import cv2
import uvicorn
from fastapi import FastAPI

from ucc.errors import UserError
from ucc.serve.connections import PatientProtocol
from ucc.serve.cut_off import cut_off
from ucc.serve.log import log_config

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Longer than most proxies and load balancers keep theirs: whoever closes first should be the one that sends.
KEEP_ALIVE_SECONDS = 75
# For the last answers to be taken.
LAST_SECONDS = 2


class Server(uvicorn.Server):
    """uvicorn, which by itself would end by the signal rather than with a status of success.

    The first signal makes the service call itself not ready; `drain_seconds` later, or with the second signal, it
    accepts no connection any more, finishes what has begun, cuts off what takes longer than `end_seconds`, and ends.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float, end_seconds: float) -> None:
        super().__init__(config)
        self.interrupted = False
        self._app, self._drain_seconds, self._end_seconds = app, drain_seconds, end_seconds
        self._ends_at: float | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the service runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # The arguments' names are uvicorn's.
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to end, or end sooner."""
        self.interrupted = self.interrupted or sig == signal.SIGINT
        self._app.state.ending = True
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        elif self._ends_at is None:
            self._ends_at = time.monotonic() + self._drain_seconds
        else:
            self._ends_at = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end; asked ten times a second."""
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what has begun, for `end_seconds`; then it is answered 503."""
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_later(self._end_seconds, cut_off, self._app.state.running),
            loop.call_later(self._end_seconds + LAST_SECONDS, setattr, self, "force_exit", True),
        ]
        finishing = asyncio.ensure_future(super().shutdown(sockets))
        while not (finishing.done() or self.force_exit):
            await asyncio.wait([finishing], timeout=0.1)
        for timer in timers:
            timer.cancel()
        if self._app.state.running:  # a second Ctrl-C does not wait
            cut_off(self._app.state.running)
            await asyncio.sleep(0.1)
        # Since Python 3.12.1 the event loop would wait for clients that do not take their answers.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := set(self.server_state.tasks):  # they see that nobody takes their answers any more
            await asyncio.wait(tasks, timeout=LAST_SECONDS)
        await finishing


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to the address, `::` to those of IPv4 as well; port 0 takes any that is free.

    Raises:
        UserError: if the address is taken or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        # The message of an error that the operating system knows has the address once more.
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else str(error).rstrip(".")
        raise UserError(f"{host} port {port}: {why}. Choose others with --host and --port.") from error


def serve(
    app: FastAPI,
    listener: socket.socket,
    drain_seconds: float,
    end_seconds: float,
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
    access_log: bool = False,
) -> int:
    """Serve until a signal; returns the exit status: 0 after SIGTERM, 130 after Ctrl-C.

    Where a picture is still being computed then, the process ends here with that status: nothing stops a thread.

    Args:
        app: what `create_app` made.
        listener: what `listen` gave.
        drain_seconds: how long it goes on accepting after the signal, not ready, for load balancers to notice.
        end_seconds: how long what has begun may take from then on; the rest is answered 503.
        keep_alive_seconds: how long a connection may stay without a request.
        access_log: whether every request is logged.
    """
    # A request is computed on one thread; OpenCV would start as many as there are cores for each.
    cv2.setNumThreads(1)
    # What is wrong with a client's picture concerns the client, who is told.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        access_log=False,  # ours tells more
        log_config=log_config(access_log),
        server_header=False,
        log_level="warning",
        timeout_keep_alive=keep_alive_seconds,
    )
    server = Server(config, app, drain_seconds, end_seconds)
    server.run(sockets=[listener])
    status = 130 if server.interrupted else 0
    if app.state.slots.threads:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
