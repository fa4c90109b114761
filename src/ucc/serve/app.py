"""The service: whether it is ready, and a picture's class map.

`GET /v2/health/ready`: 200 once the model is loaded. `POST /segment`: the body is a picture file, the answer an
indexed PNG, or JSON for `Accept: application/json`.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from ucc.errors import UserError
from ucc.images import decode_image, read_header
from ucc.pictures import encode_indexed_png
from ucc.segmenter import Segmentation, Segmenter


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    `body` bytes, refused while they arrive; `pixels`, refused before the picture is decoded, since a PNG of some
    kilobytes may declare a hundred million of them; `concurrent` pictures in memory at once, the others wait.
    """

    body: int = 20_000_000
    pixels: int = 16_000_000
    concurrent: int = 1


class RefusedError(Exception):
    """A request that is answered with `status` and one message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(segmenter: Segmenter, limits: Limits | None = None) -> FastAPI:
    """The service for one loaded model."""
    limits = limits or Limits()
    app = FastAPI(title="ucc", docs_url=None, redoc_url=None)  # FastAPI's pages load their scripts from the network
    slots = CapacityLimiter(limits.concurrent)

    @app.exception_handler(RefusedError)
    async def refuse(_: Request, error: RefusedError) -> Response:
        # A client that is still sending would be listened to until its end.
        return JSONResponse({"error": str(error)}, error.status, {"Connection": "close"})

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/segment")
    async def segment(request: Request) -> Response:
        encoded = await read_body(request, limits.body)
        check_picture(encoded, limits.pixels)
        result, picture = await run_sync(segment_picture, segmenter, encoded, limiter=slots)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(as_json(result, picture, segmenter))
        return Response(picture, media_type="image/png")

    return app


async def read_body(request: Request, most: int) -> bytes:
    """The request's body; refused as soon as more than `most` bytes are announced or have come.

    Raises:
        RefusedError: 413 for a larger body, 400 for a client that hung up.
    """
    too_large = RefusedError(413, f"The body is larger than {most} bytes; send a smaller picture.")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > most:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
    except ClientDisconnect as error:
        raise RefusedError(400, "The client hung up before the body was complete.") from error
    return bytes(body)


def check_picture(encoded: bytes, most: int) -> None:
    """Refuse what is no picture, or declares more than `most` pixels, before anything is decoded.

    Raises:
        RefusedError: 400 or 413.
    """
    header = read_header(encoded)
    if header is None or not header.height * header.width:
        raise RefusedError(400, "The body is no JPEG, PNG, BMP, TIFF or WebP; send the bytes of one picture.")
    if header.height * header.width > most:
        raise RefusedError(413, f"{header.width}x{header.height} pixels are more than {most}; send a smaller picture.")


def segment_picture(segmenter: Segmenter, encoded: bytes) -> tuple[Segmentation, bytes]:
    """The picture's segmentation, and its class map as an indexed PNG. Runs in a thread: the service keeps answering.

    Raises:
        RefusedError: 400 if the picture is damaged, 413 if it needs more memory than there is.
    """
    try:
        image = decode_image(encoded)
    except UserError as error:
        raise RefusedError(400, f"The body is {error}") from error
    try:
        result = segmenter.segment(image)
    except UserError as error:
        raise RefusedError(413, str(error)) from error
    return result, encode_indexed_png(result.classes, segmenter.colors)


def as_json(result: Segmentation, picture: bytes, segmenter: Segmenter) -> dict[str, Any]:
    """What is in the picture: its classes with their shares of the pixels, and the class map as base64 PNG."""
    height, width = result.classes.shape
    counts: NDArray[np.intp] = np.bincount(result.classes.ravel(), minlength=len(segmenter.classes))
    return {
        "width": width,
        "height": height,
        "classes": [
            {"index": index, "name": name, "color": list(color), "share": float(counts[index] / result.classes.size)}
            for index, (name, color) in enumerate(zip(segmenter.classes, segmenter.colors, strict=True))
        ],
        "mean_uncertainty": float(result.uncertainty.mean()),
        "class_map": base64.b64encode(picture).decode("ascii"),
    }
