"""Services for tests: as a process, as `ucc serve` starts it, or in a thread of the test's; and how to ask them."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI

from ucc.serve.connections import PatientProtocol
from ucc.serve.limits import Limits

SOURCE = Path(__file__).parents[2] / "src"
GUARD_SECONDS = 120
LIMITS = Limits(body=50_000, pixels=10_000, concurrency=2)


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get_content_type()

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """What the service answers; a body that is no bytes goes in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD_SECONDS)
    chunked = body is not None and not isinstance(body, bytes)
    try:
        connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def received(client: socket.socket) -> bytes:
    """All that comes until the service closes the connection."""
    answer = b""
    with suppress(ConnectionResetError):
        while chunk := client.recv(2**16):
            answer += chunk
    return answer


def until(condition: Callable[[], bool]) -> None:
    """Wait for what must become true."""
    deadline = time.monotonic() + GUARD_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def in_thread(app: FastAPI, listener: socket.socket | None = None) -> Iterator[int]:
    """The port of a service that runs until the block ends, by default on a socket that uvicorn makes."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=PatientProtocol, log_level="warning", lifespan="off"))
    sockets = {"sockets": [listener] if listener else None}
    thread = threading.Thread(target=server.run, kwargs=sockets, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield (listener or server.servers[0].sockets[0]).getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(GUARD_SECONDS)
        assert not thread.is_alive()


@contextmanager
def as_process(command: Iterable[str | Path], source: Path = SOURCE) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service's process and its port, which its first line names; ended by SIGTERM if it still runs."""
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(source)},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, int(line.split("http://")[1].split()[0].rpartition(":")[2])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=GUARD_SECONDS)


def ucc_serve(model: Path, *options: str) -> list[str | Path]:
    """The command that serves a model on any free port."""
    return [sys.executable, "-m", "ucc", "serve", model, "--port", "0", *options]
