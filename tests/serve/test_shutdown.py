"""How the process ends: what has begun is answered, nothing new is taken, and the status is one of success."""

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from hostile import TIFF_LONG, tiff
from running import GUARD_SECONDS, as_process, ask, received, ucc_serve, until

from ucc.pictures import encode_png

BODY = encode_png(np.full((4, 4, 3), 9, np.uint8))
HEAD = f"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


def begin(port: int) -> socket.socket:
    """A request whose body is half there."""
    client = socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS)
    client.sendall(HEAD + BODY[:20])
    return client


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Status and errors."""
    _, errors = process.communicate(timeout=GUARD_SECONDS)
    return process.returncode, errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_has_begun_is_answered_and_nothing_new_is_taken(model: Path, number: int, status: int) -> None:
    with as_process(ucc_serve(model)) as (process, port), begin(port) as client:
        until(lambda: "ucc_held_bytes 20.0" in ask(port, "GET", "/metrics").body.decode())
        process.send_signal(number)
        until(lambda: refused(port))
        client.sendall(BODY[20:])
        assert client.recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert ended(process) == (status, "")


def test_while_it_drains_it_is_not_ready_but_answers_until_a_second_signal(model: Path) -> None:
    with as_process(ucc_serve(model, "--drain-seconds", "3600")) as (process, port):
        client = HTTPConnection("127.0.0.1", port, timeout=GUARD_SECONDS)
        client.request("GET", "/v2/health/ready")
        answer = client.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, None)
        answer.read()
        process.send_signal(signal.SIGTERM)
        until(lambda: ask(port, "GET", "/v2/health/ready").status == 503)
        for path, status in (("/v2/health/live", 200), ("/static/main.js", 200), ("/nowhere", 404)):
            client.request("GET", path)
            answer = client.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (status, "close")
            answer.read()
        answer = ask(port, "GET", "/v2/models/segmenter/ready")
        assert (answer.status, answer.json()) == (503, {"name": "segmenter", "ready": False})
        assert ask(port, "GET", "/v2/health/live").status == 200
        assert ask(port, "POST", "/segment", BODY).status == 200
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")


def test_a_connection_is_kept_for_as_long_as_the_command_line_says(model: Path) -> None:
    with (
        as_process(ucc_serve(model, "--keep-alive-seconds", "1")) as (_, port),
        socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS) as client,
    ):
        begin = time.monotonic()
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert received(client).startswith(b"HTTP/1.1 200 ")
        assert 0.5 < time.monotonic() - begin < 15


def test_what_is_never_finished_is_cut_off(model: Path) -> None:
    with as_process(ucc_serve(model, "--end-seconds", "1")) as (process, port), begin(port) as client:
        until(lambda: "ucc_held_bytes 20.0" in ask(port, "GET", "/metrics").body.decode())
        process.send_signal(signal.SIGTERM)
        answer = received(client)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"The service ends" in answer
        assert ended(process) == (0, "")


def test_what_is_wrong_with_a_picture_is_told_to_the_client_and_not_to_the_log(model: Path) -> None:
    with as_process(ucc_serve(model)) as (process, port):
        ask(port, "POST", "/segment", tiff((256, TIFF_LONG, 8), (257, TIFF_LONG, 8)))
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")


STUCK = """
import sys, threading
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.limits import Limits
from ucc.serve.server import listen, serve

class Stuck(Segmenter):
    def segment(self, image):
        threading.Event().wait()

with listen("127.0.0.1", 0) as listener:
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    sys.exit(serve(create_app(Stuck(sys.argv[1], 1), Limits(concurrency=1)), listener, 0, float(sys.argv[2])))
"""


@pytest.mark.parametrize(
    ("end_seconds", "numbers", "status"),
    [("0.5", [signal.SIGTERM], 0), ("0.5", [signal.SIGINT], 130), ("3600", [signal.SIGINT, signal.SIGINT], 130)],
    ids=["SIGTERM", "Ctrl-C", "Ctrl-C twice"],
)
def test_a_picture_that_is_never_done_does_not_keep_the_process(
    model: Path, end_seconds: str, numbers: list[signal.Signals], status: int
) -> None:
    command = [sys.executable, "-c", STUCK, model, end_seconds]
    with as_process(command) as (process, port), ThreadPoolExecutor() as clients:
        at_work = clients.submit(ask, port, "POST", "/segment", BODY)
        until(lambda: "ucc_in_flight 1.0" in ask(port, "GET", "/metrics").body.decode())
        waiting = clients.submit(ask, port, "POST", "/segment", BODY)
        until(lambda: "ucc_queue_depth 1.0" in ask(port, "GET", "/metrics").body.decode())
        for number in numbers:
            process.send_signal(number)
            until(lambda: refused(port))
        for cut in (at_work.result(), waiting.result()):
            assert (cut.status, cut.headers["Connection"]) == (503, "close")
            assert cut.json()["error"].startswith("The service ends")
        assert ended(process) == (status, "")


LARGE = """
import sys
from fastapi import Response
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.bodies import Bodies
from ucc.serve.connections import PatientProtocol
from ucc.serve.limits import Limits
from ucc.serve.server import listen, serve

PatientProtocol.idle_seconds = 3600
app = create_app(Segmenter(sys.argv[1], 1), Limits())
app.add_api_route("/large", lambda: ANSWER, response_model=None)
with listen("127.0.0.1", 0) as listener:
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    sys.exit(serve(app, listener, 0, 0.5))
"""


@pytest.mark.parametrize(
    "answer",
    ["Response(bytes(2**26))", "Bodies(Limits()).answer(bytes(2**26), 'image/png')"],
    ids=["at once", "in parts"],
)
def test_a_client_that_does_not_take_its_answer_does_not_keep_the_process(model: Path, answer: str) -> None:
    with (
        as_process([sys.executable, "-c", LARGE.replace("ANSWER", answer), model]) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS) as client,
    ):
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1) == b"H"
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")
