"""The page at `/`: a picture dropped onto it is segmented by the service it came from, and by nothing else.

Plain HTML, CSS and ES modules in `static/`, served as they lie there. Browsers are told to load nothing from elsewhere.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers

from ucc.pictures import draw_uncertainty, encode_png

STATIC = Path(__file__).parent / "static"
# Content Security Policy Level 3 (W3C). `blob:` is the picture that a user saves or that is not sent yet.
POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
# `no-cache` keeps a copy, and asks with its ETag whether it is current: page and service are always of one version.
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Static(StaticFiles):
    """Files with the headers of the page; Starlette adds ETag and Last-Modified, and answers 304."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


def add_page(app: FastAPI) -> None:
    """Let `app`, which answers `GET /model` and `POST /segment`, serve the page at `/`, and its parts at `/static/`."""
    scale, files = draw_heat_scale(), _Static(directory=STATIC)
    headers = HEADERS | {"ETag": f'"{hashlib.sha256(scale).hexdigest()[:32]}"'}

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    @app.get("/static/heat.png", include_in_schema=False)
    async def heat(request: Request) -> Response:
        if files.is_not_modified(Headers(headers), request.headers):
            return Response(status_code=304, headers=headers)
        return Response(scale, media_type="image/png", headers=headers)

    app.mount("/static", files, name="static")


def draw_heat_scale() -> bytes:
    """The colours of `draw_uncertainty` from certain to 1 - 1/C as a PNG of 256x1 pixels: the page needs no copy."""
    ramp = np.linspace(0, 1 - 1 / 2, 256, dtype=np.float32)[np.newaxis]
    return encode_png(draw_uncertainty(ramp, 2))
