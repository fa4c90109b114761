"""Requests that no client should send, drawn from a seed: what `benchmarks/serve_fuzz.py` sends.

Each function of `KINDS` draws one request as the bytes that go over the wire.
"""

import copy
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any

import cv2
import numpy as np
from clients import INFER, tensor_request

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
ENCODED = [cv2.imencode(kind, IMAGE)[1].tobytes() for kind in (".jpg", ".png", ".webp", ".bmp", ".tif")]
HOSTILE = list(run_path(str(Path(__file__).parents[1] / "tests/hostile.py"))["HOSTILE"].values())
TENSOR = {"name": "image", "datatype": "UINT8", "shape": [1, *IMAGE.shape], "data": IMAGE.ravel().tolist()}
INFERENCE = {
    "id": "1",
    "inputs": [TENSOR],
    "outputs": [{"name": "classes", "parameters": {"binary_data": True}}, {"name": "logits"}],
    "parameters": {"binary_data_output": False},
}
# Raw JSON, since not all of it could be written otherwise.
VALUES = [
    "null",
    "true",
    "-1",
    "0",
    "3",
    "0.5",
    "1e999",
    "-0.0",
    "NaN",
    "Infinity",
    "1" * 5000,
    '"\\ud800"',
    '"\\u0000"',
]
VALUES += ["[]", "{}", '""', "[" * 300 + "]" * 300, "[[1],[2,3]]", "[null]", '["a"]', "18446744073709551616", '"image"']
WORDS = ["*/*", "image/png", "application/json", "q=0", "q=-1", ";", ",", "=", '"', "multipart/form-data", "boundary="]
WORDS += [
    "chunked",
    "gzip",
    "identity",
    "100-continue",
    "close",
    "keep-alive",
    "-1",
    "0",
    "9" * 30,
    "\xff\xfe",
    "\t",
    "a" * 500,
]
HEADERS = ["Accept", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Content-Length", "Expect", "Connection"]
HEADERS += ["Host", "Upgrade", "Inference-Header-Content-Length", "Range", "X", "Cookie", "TE", "Trailer"]
PATHS = [
    "/segment",
    INFER,
    "/model",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/v2",
    "/v2/health/ready",
    "/",
    "*",
    "//",
    "",
]
PATHS += [
    "/v2/models/%2e%2e/infer",
    "/v2/models/\u00ff/infer".encode("latin-1").decode("latin-1"),
    "/%",
    "/%00",
    "/../etc/passwd",
]
PATHS += ["/" + "a" * 3000, "http://other/segment", "/segment?" + "a=b&" * 200, "/v2/models/segmenter/versions/9/infer"]
METHODS = ["POST", "GET", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "post", "G\u00c9T", "", "POST POST"]

Draw = Callable[[random.Random], bytes]


def write(path: str, body: bytes, headers: Mapping[str, str] | None = None, method: str = "POST") -> bytes:
    """A request of HTTP/1.1; Content-Length is the body's unless given."""
    fields = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1", "replace") + body


def damage(rng: random.Random, content: bytes) -> bytes:
    """The content with some of its bytes changed, cut off, doubled or put in."""
    found = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0:
                del found[place:]
            case 1:
                found[place:place] = rng.randbytes(rng.randrange(1, 40))
            case 2:
                del found[place : place + rng.randrange(1, 40)]
            case 3:
                found[place:place] = found[: rng.randrange(1, 200)]
            case _:
                found[place : place + 1] = rng.randbytes(1)
    return bytes(found)


def picture(rng: random.Random) -> bytes:
    """A damaged picture, or a whole one to which Accept is nonsense."""
    whole = rng.choice(ENCODED)
    return write(
        "/segment", rng.choice([damage(rng, whole), rng.randbytes(rng.randrange(300)), whole]), some_headers(rng, 1)
    )


def hostile(rng: random.Random) -> bytes:
    """A picture that would cost the decoder hundreds of megabytes, or minutes; seldom with some of it damaged."""
    whole = rng.choice(HOSTILE)
    return write("/segment", damage(rng, whole) if rng.random() < 0.2 else whole)


def form(rng: random.Random) -> bytes:
    """A damaged form."""
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + rng.choice(ENCODED) + b"\r\n"
    kind = rng.choice(
        ["multipart/form-data; boundary=b", "multipart/form-data; boundary", 'multipart/form-data; boundary=""']
    )
    return write("/segment", damage(rng, part * rng.randrange(1, 3) + b"--b--\r\n"), {"Content-Type": kind})


def inference(rng: random.Random) -> bytes:
    """JSON of an inference in which one value, or its text, is wrong."""
    request: Any = copy.deepcopy(INFERENCE)
    marks = {f"@{index}": rng.choice(VALUES) for index in range(rng.randrange(1, 3))}
    for mark in marks:
        replace_somewhere(rng, request, mark)
    text = json.dumps(request)
    for mark, value in marks.items():
        text = text.replace(f'"{mark}"', value)
    body = text.encode()
    return write(INFER, damage(rng, body) if rng.random() < 0.2 else body)


def replace_somewhere(rng: random.Random, node: Any, value: str) -> None:
    """Replace or remove one value inside lists and dictionaries."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.7:
        replace_somewhere(rng, node[key], value)
    elif rng.random() < 0.2:
        del node[key]
    else:
        node[key] = value


def tensor(rng: random.Random) -> bytes:
    """Binary tensors whose sizes, announced sizes and shapes do not agree."""
    path, body, headers, _ = tensor_request(IMAGE[np.newaxis])
    length = int(headers["Inference-Header-Content-Length"])
    match rng.randrange(5):
        case 0:
            length = rng.choice([0, 1, length - 1, length + 1, len(body), len(body) + 1, 2**63, -1])
        case 1:
            body = body[: rng.randrange(len(body))]
        case 2:
            body += rng.randbytes(rng.randrange(1, 500))
        case 3:
            body = damage(rng, body[:length]) + body[length:]
        case _:
            shape = [rng.choice([-1, 0, 1, 9, 13, 3, 2**31, 2**63]) for _ in range(rng.choice([0, 3, 4, 4, 4, 5]))]
            text = body[:length].replace(json.dumps([1, *IMAGE.shape]).encode(), json.dumps(shape).encode())
            length, body = len(text), text + body[length:]
    return write(path, body, {"Inference-Header-Content-Length": str(length)})


def headers(rng: random.Random) -> bytes:
    """A good picture or inference with headers that make no sense."""
    body, path = rng.choice([(ENCODED[1], "/segment"), (json.dumps(INFERENCE).encode(), INFER)])
    return write(path, body, some_headers(rng, rng.randrange(1, 5)))


def some_headers(rng: random.Random, count: int) -> dict[str, str]:
    """Headers of random words."""
    return {
        rng.choice(HEADERS): rng.choice(["", " ", "; ", ", "]).join(rng.choices(WORDS, k=rng.randrange(1, 4)))
        for _ in range(count)
    }


def line(rng: random.Random) -> bytes:
    """Any method on any path."""
    return write(rng.choice(PATHS), rng.choice([b"", ENCODED[0]]), method=rng.choice(METHODS))


def wire(rng: random.Random) -> bytes:
    """Bytes that are hardly HTTP: damaged requests, wrong chunks, other protocols, noise."""
    chunked = b"POST /segment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = write("/segment", ENCODED[0])
    choices: list[Callable[[], bytes]] = [
        lambda: damage(rng, whole),
        lambda: damage(rng, whole[:60]) + b"\r\n\r\n",
        lambda: (
            chunked + rng.choice([b"zz\r\n", b"-1\r\n", b"f" * 40 + b"\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n"])
        ),
        lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        lambda: b"\x16\x03\x01\x02\x00" + rng.randbytes(200),
        lambda: rng.randbytes(rng.randrange(1, 400)) + b"\r\n\r\n",
        lambda: b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000 + b"\r\n",
        lambda: whole * 3,
    ]
    return rng.choice(choices)()


KINDS: tuple[Draw, ...] = (picture, hostile, form, inference, tensor, headers, line, wire)
