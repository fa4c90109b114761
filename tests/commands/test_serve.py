"""`ucc serve`: what keeps it from starting is one line; `tests/serve` has the service itself."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from brightest_model import write_model

import ucc.serve
from ucc.cli import main
from ucc.serve.server import listen


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_missing_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "nowhere.onnx"]) == 1
    assert the_error(capsys).startswith("error: nowhere.onnx: no such file.")


def test_a_name_that_cannot_stand_in_an_address_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(model), "--name", "a/b"]) == 1
    assert the_error(capsys).startswith("error: --name 'a/b': a model's name is made of letters")


def test_a_port_that_is_taken_is_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(model), "--port", str(port)]) == 1
    assert the_error(capsys) == (
        f"error: 127.0.0.1 port {port}: Address already in use. Choose others with --host and --port."
    )


@pytest.mark.parametrize("address", [("--port", "70000"), ("--host", "192.0.2.1"), ("--host", "no.such.host.invalid")])
def test_an_address_that_cannot_be_is_named(
    model: Path, address: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(model), "--port", "0", *address]) == 1
    line = the_error(capsys)
    assert address[1] in line
    assert line.endswith("Choose others with --host and --port.")


KILLED_WHILE_IT_LOADS = """
import os, signal, sys
from ucc.cli import main

class Finder:
    def find_spec(self, name, *_):
        if name == "ucc.segmenter":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
main(["serve", "nowhere.onnx"])
sys.exit("not ended")
"""


def test_sigterm_before_it_serves_ends_it_with_success() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_LOADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_service_that_did_not_start_leaves_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["serve", "nowhere.onnx"]) == 1
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    with listen("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=60).close()
    with listen("::1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=60)


def test_times_are_those_of_the_command_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def create_app(*arguments: Any) -> None:
        given["limits"] = arguments[1]

    def serve(*arguments: Any) -> int:
        given["times"] = arguments[2:]
        return 0

    monkeypatch.setattr("ucc.serve.app.create_app", create_app)
    monkeypatch.setattr("ucc.serve.server.serve", serve)
    assert main(["serve", str(model), "--port", "0"]) == 0
    assert (given["limits"].queue_seconds, given["times"]) == (60, (0, 30, 75, False))
    options = ["--drain-seconds=1", "--end-seconds=2", "--keep-alive-seconds=3", "--queue-seconds=4", "--access-log"]
    assert main(["serve", str(model), "--port", "0", *options]) == 0
    assert (given["limits"].queue_seconds, given["times"]) == (4, (1, 2, 3, True))


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_package_comes_with_the_command_that_installs_it(
    model: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ucc, "serve", ucc.serve)  # what is imported anew takes its place until the test has ended
    for name in [name for name in sys.modules if name.startswith("ucc.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["serve", str(model)]) == 1
    line = the_error(capsys)
    assert package in line
    assert "pip install '.[serve]' in the folder of this project" in line
    # In the public index the name belongs to another project.
    assert "ucc[" not in line


@pytest.mark.parametrize(
    "options",
    [
        ("--concurrency", "0"),
        ("--max-pixels", "many"),
        ("--max-pixels", "178000001"),
        ("--drain-seconds", "nan"),
        ("--end-seconds", "-1"),
        ("--queue-seconds", "0"),
        ("--keep-alive-seconds", "-1"),
    ],
)
def test_an_impossible_value_is_a_wrong_command_line(
    model: Path, options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", str(model), *options])
    assert options[1] in capsys.readouterr().err
