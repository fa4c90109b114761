"""What is refused before it costs anything: by bytes, by pixels, by time."""

import asyncio
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE
from running import GUARD_SECONDS, LIMITS, ask, in_thread, received, until

from ucc.pictures import encode_png
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.connections import PatientProtocol
from ucc.serve.limits import Limits
from ucc.serve.pictures_api import ANSWERS
from ucc.serve.server import listen

PICTURE = encode_png(np.full((4, 4, 3), 9, np.uint8))


def png_that_declares(width: int, height: int) -> bytes:
    """A PNG of some bytes whose header declares any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "no JPEG, PNG"),
        (b"GIF89a", 400, "no JPEG, PNG"),
        (b"\x89PNG\r\n\x1a\n", 400, "no JPEG, PNG"),
        (b"\xff\xd8\xff\xe0\x00\x00", 400, "no JPEG, PNG"),
        (png_that_declares(0, 7), 400, "no JPEG, PNG"),
        (png_that_declares(90, 90), 400, "not an image"),
        (PICTURE[: len(PICTURE) // 2], 400, "cut off"),
        (bytes(50_001), 413, "larger than 50000 bytes"),
    ],
)
def test_what_cannot_be_segmented_is_refused_with_one_message(
    port: int, body: bytes, status: int, message: str
) -> None:
    answer = ask(port, "POST", "/segment", body)
    assert answer.status == status
    assert message in answer.json()["error"]


def test_a_small_png_of_81_megapixels_is_refused_before_it_is_decoded(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(_: bytes) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr("ucc.serve.pictures_api.decode_image", decode)
    answer = ask(port, "POST", "/segment", png_that_declares(9000, 9000))
    assert answer.status == 413
    assert "9000x9000 pixels are more than 10000" in answer.json()["error"]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_cost_the_decoder_too_much_never_reaches_it(
    model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.serve.pictures_api.decode_image", lambda _: pytest.fail("decoded"))
    with in_thread(create_app(Segmenter(model, threads=1))) as port:
        answer = ask(port, "POST", "/segment", HOSTILE[name])
    assert answer.status in (400, 413)
    assert any(why in answer.json()["error"] for why in ("no JPEG", "scans", "are more than 16000000"))


def test_nothing_acceptable_is_406_and_lists_what_there_is(port: int) -> None:
    answer = ask(port, "POST", "/segment", PICTURE, {"Accept": "video/mp4"})
    assert answer.status == 406
    assert all(offer in answer.json()["error"] for offer in ANSWERS)


def test_a_compressed_body_is_refused(port: int) -> None:
    for path in ("/segment", "/v2/models/segmenter/infer"):
        answer = ask(port, "POST", path, zlib.compress(PICTURE), {"Content-Encoding": "deflate"})
        assert (answer.status, "Content-Encoding" in answer.json()["error"]) == (415, True)


@pytest.mark.parametrize("path", ["/segment", "/v2/models/segmenter/infer"])
def test_a_body_of_no_announced_length_is_refused_while_it_arrives(port: int, path: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 10_000
            yield bytes(10_000)

    with suppress(OSError):  # the service closes the connection while this client is still sending
        assert ask(port, "POST", path, endless()).status == 413
    assert sent < 100_000_000


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS)


def test_a_client_that_sends_before_it_reads_gets_its_answer_too(model: Path) -> None:
    app = create_app(Segmenter(model, threads=1), LIMITS)
    with in_thread(app) as port, connect(port) as client:
        client.sendall(b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 150000\r\n\r\n")
        until(lambda: b"413" in client.recv(4096, socket.MSG_PEEK))
        for _ in range(15):
            client.sendall(bytes(10_000))
            time.sleep(0.01)
        assert b"larger than 50000 bytes" in received(client)


HALF = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"


def test_it_keeps_answering_after_a_client_hung_up(port: int) -> None:
    with connect(port) as client:
        client.sendall(HALF)
    assert ask(port, "POST", "/segment", PICTURE).status == 200


def test_a_body_that_does_not_come_is_given_up(model: Path) -> None:
    app = create_app(Segmenter(model, threads=1), replace(LIMITS, body_seconds=0.2))
    with in_thread(app) as port, connect(port) as client:
        client.sendall(HALF)
        head, _, body = received(client).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert "within 0.2 seconds" in json.loads(body)["error"]


@pytest.mark.parametrize("begun", [b"", b"GET /v2/he", b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/he"])
def test_a_connection_on_which_no_request_comes_is_closed(
    port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientProtocol, "idle_seconds", 0.2)
    with connect(port) as client:
        client.sendall(begun)
        assert received(client).count(b"HTTP/1.1 200 ") == begun.count(b"\r\n\r\n")


def test_no_part_of_an_answer_waits_for_the_client_to_acknowledge_another(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[int] = []
    made = PatientProtocol.connection_made

    def connection_made(self: PatientProtocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(PatientProtocol, "connection_made", connection_made)
    with in_thread(create_app(Segmenter(model, threads=1)), listen("127.0.0.1", 0)) as port:
        assert ask(port, "GET", "/v2/health/live").status == 200
    assert options == [1]


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A picture whose overlay has megabytes, more than sockets buffer."""
    return encode_png(np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), dtype=np.uint8))


def ask_for_much(port: int, body: bytes) -> socket.socket:
    """A client that has asked for an overlay, and takes it in small pieces or not at all."""
    client = socket.socket()
    client.settimeout(GUARD_SECONDS)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    head = f"POST /segment HTTP/1.1\r\nHost: x\r\nAccept: {ANSWERS[1]}\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a connection is closed; the operating system takes little of an answer from the service."""
    event = threading.Event()

    class Narrow(PatientProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            event.set()

    monkeypatch.setattr("running.PatientProtocol", Narrow)
    return event


@pytest.mark.parametrize(
    ("taken", "short"),
    [
        (0, "ucc.serve.connections.PatientProtocol.idle_seconds"),
        (700, "ucc.serve.connections.PatientProtocol.idle_seconds"),
        (200_000, "ucc.serve.bodies.TAKING_SECONDS"),
    ],
    ids=["not", "in drops", "slowly"],
)
def test_a_client_that_does_not_take_its_answer_or_too_slowly_is_cut_off(
    model: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch, lost: threading.Event, taken: int, short: str
) -> None:
    monkeypatch.setattr(PatientProtocol, "idle_seconds", 3600)
    monkeypatch.setattr("ucc.serve.bodies.BYTES_PER_SECOND", 1e12)
    monkeypatch.setattr(short, 0.5)
    with in_thread(create_app(Segmenter(model, threads=1))) as port, ask_for_much(port, noise) as client:
        deadline = time.monotonic() + GUARD_SECONDS
        client.settimeout(0.02)
        while not lost.wait(0.02):
            assert time.monotonic() < deadline
            with suppress(OSError):  # nothing has come, or nothing will
                client.recv(taken)


def test_a_client_that_never_takes_the_end_of_its_answer_is_cut_off(
    model: Path, monkeypatch: pytest.MonkeyPatch, lost: threading.Event
) -> None:
    monkeypatch.setattr(PatientProtocol, "idle_seconds", 0.2)
    with in_thread(create_app(Segmenter(model, threads=1))) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert lost.wait(GUARD_SECONDS)


def test_answers_that_are_not_taken_are_bounded_and_told(model: Path, noise: bytes) -> None:
    def held(port: int) -> float:
        (line,) = re.findall(r"^ucc_held_bytes (.*)$", ask(port, "GET", "/metrics").body.decode(), re.MULTILINE)
        return float(line)

    with in_thread(create_app(Segmenter(model, threads=1), Limits(held=10_000_000))) as port:
        with ask_for_much(port, noise) as client:
            assert client.recv(1) == b"H"
            assert held(port) > 7_000_000
            refused = ask(port, "POST", "/segment", noise, {"Accept": ANSWERS[1]})
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            assert "answers that are not taken" in refused.json()["error"]
            assert ask(port, "POST", "/segment", PICTURE).status == 200
        until(lambda: held(port) == 0)
        taken = ask(port, "POST", "/segment", noise, {"Accept": ANSWERS[1]})
        assert (taken.status, len(taken.body)) == (200, int(taken.headers["Content-Length"]))
        assert len(taken.body) > 7_000_000


def test_all_bodies_together_are_bounded(model: Path) -> None:
    app = create_app(Segmenter(model, threads=1), replace(LIMITS, held=1000))
    with in_thread(app) as port:
        answer = ask(port, "POST", "/segment", bytes(1001))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        for _ in range(20):  # what is done is no longer counted
            assert ask(port, "POST", "/segment", PICTURE).status == 200
