"""The page's files: complete, of this server alone, and never older than the service they came with."""

import http.client
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from brightest_model import write_model
from browser import decode, running

from ucc.pictures import draw_uncertainty
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.page import STATIC

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    model = write_model(tmp_path_factory.mktemp("model") / "segmenter.onnx")
    with running(create_app(Segmenter(model, threads=1))) as address:
        yield urlsplit(address).port or 0


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


@pytest.mark.parametrize("path", ["/", *(f"/static/{file.name}" for file in FILES), "/static/heat.png"])
def test_every_file_is_served_with_its_type_and_the_policy_and_asked_for_anew(port: int, path: str) -> None:
    answer, content = get(port, path)
    assert answer.status == 200
    assert content
    types = {"": "text/html", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}
    # Both are JavaScript to a browser (RFC 9239); Python's tables differ.
    kinds = {"text/javascript", "application/javascript"} if path.endswith(".js") else {types[Path(path).suffix]}
    assert answer.headers.get_content_type() in kinds
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/static/heat.png"])
def test_what_a_browser_still_has_is_not_sent_again(port: int, path: str) -> None:
    answer, content = get(port, path)
    again, nothing = get(port, path, {"If-None-Match": answer.headers["ETag"]})
    assert (again.status, nothing) == (304, b"")
    for name in ("ETag", "Cache-Control", "Content-Security-Policy"):
        assert again.headers[name] == answer.headers[name]
    other, whole = get(port, path, {"If-None-Match": '"other"'})
    assert (other.status, whole) == (200, content)


def test_no_file_outside_the_folder_is_served(port: int) -> None:
    assert get(port, "/static/../page.py")[0].status == 404
    assert get(port, "/static/%2e%2e/page.py")[0].status == 404


def test_the_heat_map_has_the_colors_of_ucc_segment(port: int) -> None:
    scale = decode(get(port, "/static/heat.png")[1])
    values = np.linspace(0, 0.9, 256, dtype=np.float32)[np.newaxis]
    np.testing.assert_array_equal(scale, draw_uncertainty(values, 10))


def test_files_name_each_other_by_relative_addresses_and_no_other_server() -> None:
    names = {file.name for file in FILES} | {"heat.png"}
    used = {"index.html"}
    for file in FILES:
        text = file.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"""https?://|["'(]//|["'(]/\w""", text), file.name
        linked = re.findall(r"""(?:"|\()(?:\./|static/)([\w.-]+)""", text)
        assert set(linked) <= names, file.name
        used |= set(linked)
    assert used == names  # nothing lies there that no page asks for


def test_a_wheel_of_the_package_brings_the_page_and_its_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert {f"ucc/serve/static/{file.name}" for file in FILES} | {"ucc/py.typed"} <= set(wheel.namelist())
