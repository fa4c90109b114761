"""What the page's tests share: a service that remembers what it was sent, and a page that is watched."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from playwright.sync_api import Browser, Page, Route, expect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 30_000  # milliseconds, for a machine that does other things as well
expect.set_options(timeout=PATIENCE)


class Recorder:
    """An ASGI application around another one: `bodies` are what was posted, in turn."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()

        async def listen() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            if scope["method"] == "POST" and message["type"] == "http.request" and not message.get("more_body"):
                self.bodies.append(bytes(body))
            return message

        await self.app(scope, listen if scope["type"] == "http" else receive, send)


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of `app`, served on a free port of this machine."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def watched(browser: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """The page, loaded. Whatever a test does with it, nothing else is asked for, and no script fails."""
    context = browser.new_context(**settings)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    asked: list[str] = []
    failures: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    # An answer of 400 is "Failed to load resource" to the console, whatever the page makes of it.
    page.on("console", lambda line: failures.append(line.text) if is_complaint(line) else None)
    # Playwright catches file choosers while somebody listens; a key pressed right after that began would be too early.
    page.on("filechooser", lambda _: None)
    page.goto(address)
    expect(page.locator("#facts dd")).not_to_have_count(0)
    yield page
    context.close()
    assert failures == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def is_complaint(line: Any) -> bool:
    return line.type in ("error", "warning") and not line.text.startswith("Failed to load resource")


def choose(page: Page, file: Path) -> None:
    """Give the page a picture, and wait until its classes are shown."""
    page.set_input_files("#file", file)
    expect(page.locator("#status")).to_contain_text(f"{file.name}, ")


def pixels(page: Page) -> np.ndarray:
    """What the canvas shows, RGBA (H, W, 4)."""
    shown = page.evaluate(
        """() => {
          const canvas = document.getElementById("canvas");
          const { width, height } = canvas;
          const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, width, height);
          return { size: [height, width, 4], data: [...data] };
        }"""
    )
    return np.array(shown["data"], np.uint8).reshape(shown["size"])


def set_opacity(page: Page, percent: int) -> None:
    page.locator("#opacity").fill(str(percent))


def point(page: Page, column: int, row: int) -> None:
    """Move the mouse over the middle of a pixel of the picture."""
    frame = page.locator("#canvas").bounding_box()
    width, height = page.evaluate(
        "() => [document.getElementById('canvas').width, document.getElementById('canvas').height]"
    )
    assert frame is not None
    x = frame["x"] + (column + 0.5) * frame["width"] / width
    y = frame["y"] + (row + 0.5) * frame["height"] / height
    page.mouse.move(x, y)


def answer_first(page: Page, *refusals: dict[str, Any]) -> None:
    """Let the next requests to segment be answered so, and those after them by the service."""
    waiting = list(refusals)

    def answer(route: Route) -> None:
        if waiting:
            route.fulfill(**waiting.pop(0))
        else:
            route.continue_()

    page.route("**/segment", answer)


def saved(page: Page, kind: str) -> tuple[str, bytes]:
    """Name and content of the file that a button saves."""
    with page.expect_download() as download:
        page.click(f"[data-save={kind}]")
    return download.value.suggested_filename, download.value.path().read_bytes()


def decode(encoded: bytes) -> np.ndarray:
    """RGB (H, W, 3)."""
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
