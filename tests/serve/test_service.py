"""The service over real HTTP: what it answers, and what it refuses before it costs anything."""

import base64
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import uvicorn
from brightest_model import COLORS, write_model

from ucc.pictures import encode_png
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.limits import Limits

ROOT = Path(__file__).parents[2]
LIMITS = Limits(body=50_000, pixels=10_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter made by hand: a pixel's class is its brightest channel."""
    return write_model(tmp_path_factory.mktemp("model") / "segmenter.onnx")


@pytest.fixture(scope="module")
def port(model: Path) -> Iterator[int]:
    """The service on a free port."""
    config = uvicorn.Config(create_app(Segmenter(model, threads=1), LIMITS), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def ask(port: int, body: bytes | Iterator[bytes], headers: dict[str, str] | None = None) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer to POST /segment."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/segment", body, headers or {}, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()
    finally:
        connection.close()


def picture() -> np.ndarray:
    """Red on the left, blue on the right."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :10, 0] = pixels[:, 10:, 2] = 200
    return pixels


def test_it_is_ready_once_it_answers(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/v2/health/ready")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {"ready": True})


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_picture_comes_back_as_a_map_of_class_indices(port: int, kind: str) -> None:
    encoded = cv2.imencode(kind, picture()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    status, content, answer = ask(port, encoded)
    assert (status, content) == (200, "image/png")
    assert answer[25] == 3  # indexed: the palette has the classes' colours
    found = cv2.imdecode(np.frombuffer(answer, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(found[0, 0], COLORS[0])
    assert np.array_equal(found[19, 29], COLORS[2])


def test_a_client_that_accepts_json_gets_names_and_shares(port: int) -> None:
    status, content, answer = ask(port, encode_png(picture()), {"Accept": "application/json"})
    assert (status, content) == (200, "application/json")
    told = json.loads(answer)
    assert (told["width"], told["height"]) == (30, 20)
    assert told["mean_uncertainty"] == pytest.approx(1 - 200 / 255)
    assert [(c["name"], c["color"]) for c in told["classes"]] == list(
        zip(["red", "green", "blue"], map(list, COLORS), strict=True)
    )
    assert [c["share"] for c in told["classes"]] == pytest.approx([1 / 3, 0, 2 / 3])
    assert base64.b64decode(told["class_map"]).startswith(b"\x89PNG")


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
        (png_that_declares(9000, 9000), 413, "9000x9000 pixels are more than 10000"),
        (bytes(50_001), 413, "larger than 50000 bytes"),
    ],
)
def test_what_cannot_be_segmented_is_refused_with_one_message(
    port: int, body: bytes, status: int, message: str
) -> None:
    answered, _, answer = ask(port, body)
    assert answered == status
    assert message in json.loads(answer)["error"]


def test_a_body_of_no_announced_length_is_refused_while_it_arrives(port: int) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 10_000
            yield bytes(10_000)

    with suppress(OSError):  # the service closes the connection while this client is still sending
        assert ask(port, endless())[0] == 413
    assert sent < 100_000_000


def test_it_keeps_answering_after_a_client_hung_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert ask(port, encode_png(picture()))[0] == 200


def test_a_missing_model_ends_the_service_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ucc", "serve", "nowhere.onnx"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere.onnx: no such file.")
    assert len(done.stderr.splitlines()) == 1
