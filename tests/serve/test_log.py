"""What the service writes to its log: when, and of which request."""

import re
import signal
import socket
import subprocess
from pathlib import Path

from running import GUARD_SECONDS, as_process, ask, received, ucc_serve

WHEN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=GUARD_SECONDS)[1]


def test_requests_are_logged_where_that_is_asked_for(model: Path) -> None:
    with as_process(ucc_serve(model, "--access-log")) as (process, port):
        ask(port, "POST", "/segment?x=1", b"no picture", {"X-Request-Id": "abc"})
        ask(port, "HEAD", "/v2/health/live")
        ask(port, "GET", "/a%0Ab")
        lines = ended(process).splitlines()
    requests = ["POST /segment (X-Request-Id 'abc') 400", "HEAD /v2/health/live 200", "GET /a%0Ab 404"]
    assert len(lines) == 3
    for line, request in zip(lines, requests, strict=True):
        assert re.fullmatch(rf"{WHEN} INFO 127.0.0.1 {re.escape(request)} \d\.\d{{3}} s", line)


UPGRADE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: %s\r\n\r\n"


def test_by_itself_the_log_has_what_is_wrong_with_its_time_and_no_advice_on_what_is_not_served(model: Path) -> None:
    with as_process(ucc_serve(model)) as (process, port):
        for sent in (UPGRADE % b"websocket", UPGRADE % b"h2c", b"nonsense\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS) as client:
                client.sendall(sent)
                assert received(client).startswith(b"HTTP/1.1 400 " if b"nonsense" in sent else b"HTTP/1.1 200 ")
        assert ask(port, "GET", "/nowhere").status == 404
        assert re.fullmatch(rf"{WHEN} WARNING Invalid HTTP request received.\n", ended(process))
