"""Pictures over real HTTP: what the service answers, and in which form."""

import asyncio
import base64
import http.client
import json
import os
import re
import subprocess
import sys
import tracemalloc
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from brightest_model import COLORS, METADATA, write_model
from PIL import Image as PillowImage
from running import ask, in_thread
from starlette.types import Message

import ucc
from ucc.pictures import draw_overlay, draw_uncertainty, encode_png, scale_uncertainty
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.forms import file_of_form
from ucc.serve.limits import RefusedError


@pytest.fixture
def image() -> np.ndarray:
    """Red on the left third, blue on the right."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :10, 0] = pixels[:, 10:, 2] = 200
    return pixels


def decoded(encoded: bytes) -> np.ndarray:
    with PillowImage.open(BytesIO(encoded)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_a_picture_comes_back_as_a_map_of_class_indices(port: int, image: np.ndarray, kind: str) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_WEBP_QUALITY, 101]
    encoded = cv2.imencode(kind, image[..., ::-1], quality if kind in (".jpg", ".webp") else [])[1].tobytes()
    answer = ask(port, "POST", "/segment", encoded)
    assert (answer.status, answer.content_type, answer.headers["Vary"]) == (200, "image/png", "Accept")
    classes = decoded(answer.body)
    assert classes[0, 0] == 0
    assert classes[19, 29] == 2
    with PillowImage.open(BytesIO(answer.body)) as picture:
        assert picture.convert("RGB").getpixel((29, 19)) == COLORS[2]


def test_overlay_and_heat_map_are_those_of_the_package(port: int, model: Path, image: np.ndarray) -> None:
    result = Segmenter(model).segment(image)
    for output, expected in (
        ("overlay", draw_overlay(image, result.classes, COLORS)),
        ("uncertainty", draw_uncertainty(result.uncertainty, len(COLORS))),
    ):
        answer = ask(port, "POST", "/segment", encode_png(image), {"Accept": f"image/png;output={output}"})
        assert (answer.status, answer.content_type) == (200, "image/png")
        np.testing.assert_array_equal(decoded(answer.body), expected)


def test_json_has_names_shares_and_both_maps(port: int, model: Path, image: np.ndarray) -> None:
    answer = ask(port, "POST", "/segment", encode_png(image), {"Accept": "application/json"})
    assert (answer.status, answer.content_type) == (200, "application/json")
    told = answer.json()
    assert (told["width"], told["height"]) == (30, 20)
    assert told["mean_uncertainty"] == pytest.approx(1 - 200 / 255)
    assert [(c["index"], c["name"], c["color"]) for c in told["classes"]] == [
        (0, "red", list(COLORS[0])),
        (1, "green", list(COLORS[1])),
        (2, "blue", list(COLORS[2])),
    ]
    assert [c["share"] for c in told["classes"]] == pytest.approx([1 / 3, 0, 2 / 3])
    result = Segmenter(model).segment(image)
    np.testing.assert_array_equal(decoded(base64.b64decode(told["class_map"])), result.classes)
    grey = decoded(base64.b64decode(told["uncertainty_map"]))
    np.testing.assert_array_equal(grey, scale_uncertainty(result.uncertainty, len(COLORS)))


def test_a_photograph_is_turned_as_its_exif_says(port: int, image: np.ndarray) -> None:
    stream, exif = BytesIO(), PillowImage.Exif()
    exif[0x0112] = 6  # the first row is the right side
    PillowImage.fromarray(image).save(stream, "JPEG", quality=100, exif=exif)
    classes = decoded(ask(port, "POST", "/segment", stream.getvalue()).body)
    assert classes.shape == (30, 20)
    assert (classes[0, 0], classes[29, 19]) == (0, 2)


def form(*parts: tuple[str, bytes], boundary: str = "x1") -> tuple[bytes, dict[str, str]]:
    """A form (RFC 7578) and its Content-Type; each part has a Content-Disposition's rest and content."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {rest}\r\n\r\n".encode() + content + b"\r\n"
        for rest, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}


def test_a_form_with_one_file_is_as_good_as_a_bare_body(port: int, image: np.ndarray) -> None:
    encoded = encode_png(image)
    body, headers = form(*[('name="note"', b"a street")] * 90, ('name="file"; filename="a.png"', encoded))
    expected = ask(port, "POST", "/segment", encoded).body
    for text in (body, b"before it\r\n" + body + b"after it\r\n--x1\r\n"):
        assert ask(port, "POST", "/segment", text, headers).body == expected


@pytest.mark.parametrize(
    "body", [b"--x\r\n" + b"aa:bb\r\n" * 10**5 + b"\r\n\r\n1\r\n--x--", b"--x\r\n\r\n\r\n" * 10**5 + b"--x--"]
)
def test_a_form_that_is_no_picture_costs_no_more_memory_than_it_has_bytes(body: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(RefusedError, match="than"):
        file_of_form(body, "multipart/form-data; boundary=x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(body)


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (*form(('name="a"; filename="a"', b"1"), ('name="b"; filename="b"', b"2")), "The form has 2 files"),
        (*form(('name="a"', b"1")), "The form has 0 files"),
        (form()[0][:-4], form()[1], "The form's end is missing"),
        (b"", form()[1], "The form's end is missing"),
        (b"--x\r\n", {"Content-Type": "multipart/form-data"}, "names no boundary"),
        (*form(('name="a"; filename="a"', b"no picture")), "no JPEG, PNG"),
        (*form(("name=a; filename*1*=a; filename=UTF-8''a%20b; filename*=b", b"1")), "Content-Disposition"),
        (b"--x--", {"Content-Type": "multipart/form-data; boundary*1*=a; boundary*=UTF-8''x"}, "names no boundary"),
        (b"", {"Content-Type": f"multipart/form-data; boundary={1000 * 'x'}"}, "Content-Type has more than 1000"),
        (*form(*[('name="a"', b"1")] * 101), "more than 100 parts"),
        (*form(*[(f'name="{200 * "a"}"', b"1")] * 50), "heads of more than 8192 bytes"),
    ],
    ids=[
        *("two", "none", "cut", "empty", "boundary", "text", "file name in parts", "boundary in parts"),
        *("long type", "many", "heads"),
    ],
)
def test_a_form_that_is_damaged_or_has_not_one_picture_is_refused(
    port: int, body: bytes, headers: dict[str, str], message: str
) -> None:
    answer = ask(port, "POST", "/segment", body, headers)
    assert answer.status == 400
    assert message in answer.json()["error"]


def test_the_model_tells_of_itself(port: int, tmp_path: Path) -> None:
    told = ask(port, "GET", "/model").json()
    assert [entry["name"] for entry in told["classes"]] == ["red", "green", "blue"]
    assert told["limits"] == {"bytes": 50_000, "pixels": 10_000}
    expected = {
        "name": "segmenter",
        "miou": None,
        "miou_split": None,
        "quantized": False,
        "ucc_version": ucc.__version__,
    }
    assert expected == {key: told[key] for key in expected}
    more = {
        "metrics": json.dumps({"miou": 57.5, "split": "test"}),
        "dataset": "streets",
        "git_revision": "abc",
        "step": "12",
    }
    named = write_model(tmp_path / "m.onnx", METADATA | more | {"ucc_version": "9.9", "quantized": "int8"})
    with in_thread(create_app(Segmenter(named, threads=1), name="streets-1")) as other:
        told = ask(other, "GET", "/model").json()
        assert ask(other, "GET", "/v2/models/streets-1/ready").status == 200
    expected = {"name": "streets-1", "miou": 57.5, "miou_split": "test", "dataset": "streets", "revision": "abc"}
    expected |= {"step": 12, "quantized": True, "ucc_version": "9.9"}
    assert expected == {key: told[key] for key in expected}


def test_the_health_check_of_the_image_asks_past_a_proxy(port: int) -> None:
    """Docker hands the proxy of its client's configuration to every container."""
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    check = re.search(r"^HEALTHCHECK .*\n\s+CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert check is not None
    _, *arguments = json.loads(check[1].replace(":8000/", f":{port}/"))
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"} | proxy
    subprocess.run([sys.executable, *arguments], env=environment, check=True)


def test_a_connection_takes_one_request_after_another(port: int, image: np.ndarray) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    encoded = encode_png(image)
    for body, status in ((encoded, 200), (b"no picture", 400), (encoded, 200)):
        connection.request("POST", "/segment", body)
        answer = connection.getresponse()
        assert answer.status == status
        answer.read()
        assert connection.sock is not None
    connection.close()


def test_errors_are_json_whatever_the_path(port: int) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/segment", 405), ("GET", "/segment/", 404)):
        answer = ask(port, method, path)
        assert (answer.status, answer.content_type) == (status, "application/json")
        assert set(answer.json()) == {"error"}
        assert repr(path) in answer.json()["error"]
        assert "GET /docs" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/segment", "POST"), ("/model", "GET, HEAD"), ("/openapi.json", "GET, HEAD"), ("/static/main.js", "GET, HEAD")],
)
def test_a_method_that_is_not_allowed_is_told_which_are(port: int, path: str, methods: str) -> None:
    answer = ask(port, "DELETE", path)
    assert (answer.status, answer.headers["Allow"]) == (405, methods)
    assert f"does not take DELETE, but {methods}" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "end", "methods"),
    [("POST", "", "GET, HEAD"), ("POST", "/ready", "GET, HEAD"), ("GET", "/infer", "POST"), ("HEAD", "/infer", "POST")],
)
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_method_that_an_address_of_the_model_does_not_take_is_told_as_anywhere(
    port: int, method: str, version: str, end: str, methods: str
) -> None:
    answer = ask(port, method, f"/v2/models/segmenter{version}{end}")
    assert (answer.status, answer.headers["Allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in ("/", "/docs", "/model", "/openapi.json", "/static/main.js", "/static/heat.png")),
        *((path, 200) for path in ("/v2", "/v2/health/ready", "/v2/models/segmenter")),
        ("/nowhere", 404),
        ("/v2/models/other", 404),
        ("/segment", 405),
    ],
)
def test_head_is_answered_as_get_is_without_the_body(port: int, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for method in ("GET", "HEAD", "GET"):  # a body that was sent would be taken for the next answer
        connection.request(method, path)
        answer = connection.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name != "date"}
        found.append((answer.status, headers, answer.read()))
    connection.close()
    assert found[0] == found[2]
    assert found[1] == (status, found[0][1], b"")
    assert int(found[1][1]["content-length"]) == len(found[0][2])


@pytest.mark.parametrize("path", ["/v2/health/live", "/segment/http://x", "/", "/model?x=http://y"])
def test_a_target_that_is_a_whole_address_is_answered_as_its_path_is(port: int, path: str) -> None:
    expected = ask(port, "GET", path)
    for server in ("http://localhost:1", "HTTPS://x"):
        answer = ask(port, "GET", server + path)
        assert (answer.status, answer.body) == (expected.status, expected.body)
    assert ask(port, "GET", "http://localhost").body == ask(port, "GET", "/").body


def test_a_server_that_does_not_drop_the_body_of_an_answer_to_head_gets_none(model: Path) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    app = create_app(Segmenter(model, threads=1))
    scope = {"type": "http", "method": "HEAD", "path": "/model", "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(app(scope, receive, send))
    assert [message.get("status") or message["body"] for message in sent] == [200, b""]


def test_the_page_for_people_lists_every_operation_and_loads_nothing(port: int) -> None:
    answer = ask(port, "GET", "/docs")
    page = answer.body.decode()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for path, methods in ask(port, "GET", "/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}</code>" in page
    assert "<script" not in page
    assert "src=" not in page
    assert "http" not in page.replace("openapi.json", "")
    assert 'href="openapi.json"' in page  # also behind a proxy that adds a prefix to paths
