"""The Open Inference Protocol, version 2, over HTTP (KServe, Triton): health, metadata, inference.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

import ucc
from ucc.segmenter import INPUT, LOGITS, OUTPUTS, Segmenter
from ucc.serve import schemas
from ucc.serve.bodies import Bodies
from ucc.serve.limits import Limits, RefusedError, out_of_memory_refused
from ucc.serve.openapi import infer_body, infer_response, responses
from ucc.serve.slots import Slots
from ucc.serve.tensors import HEADER_LENGTH, read_request, write_answer

# A service holds one file.
VERSION = "1"


def health_routes() -> APIRouter:
    """Whether the server lives and is ready, and what it is."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("", response_model=schemas.ServerMetadata)
    async def server() -> JSONResponse:
        """What this server is."""
        return JSONResponse({"name": "ucc", "version": ucc.__version__, "extensions": ["binary_tensor_data"]})

    @router.get("/health/live", response_model=schemas.Live)
    async def live() -> JSONResponse:
        """Whether the server answers."""
        return JSONResponse({"live": True})

    @router.get("/health/ready", response_model=schemas.Ready, responses={503: {"model": schemas.Ready}})
    async def ready(request: Request) -> JSONResponse:
        """Whether requests are welcome; 503 while the server ends."""
        return _readiness(request, {})

    return router


def model_routes(segmenter: Segmenter, name: str, limits: Limits, slots: Slots, bodies: Bodies) -> APIRouter:
    """Metadata, readiness and inference of the model, with its version in the path or without."""
    router = APIRouter(prefix="/v2/models", tags=["Open Inference Protocol"])

    async def metadata() -> JSONResponse:
        """The model's tensors; the classes are in `/model`."""
        return JSONResponse(describe(name, len(segmenter.classes)))

    async def ready(request: Request) -> JSONResponse:
        """Whether requests are welcome; 503 while the server ends."""
        return _readiness(request, {"name": name})

    async def infer(request: Request) -> Response:
        """Class map, uncertainty and logits of a batch of images of one size."""
        slots.check_room()
        async with bodies.read(request) as body:
            header_length = request.headers.get(HEADER_LENGTH)
            work = partial(answer_tensors, segmenter, body, header_length, limits.pixels, name)
            content, json_bytes = await slots.run(request, work)
        if json_bytes is None:
            return bodies.answer(content, "application/json")
        return bodies.answer(content, "application/octet-stream", {HEADER_LENGTH: str(json_bytes)})

    taken: dict[str, str] = {}
    for path in (f"/{name}", f"/{name}/versions/{VERSION}"):
        taken |= {f"{path[1:]}{end}": "POST" if end == "/infer" else "GET" for end in ("", "/ready", "/infer")}
        unready: dict[int | str, dict[str, Any]] = {503: {"model": schemas.ModelReady}}
        router.add_api_route(path, metadata, response_model=schemas.ModelMetadata)
        router.add_api_route(f"{path}/ready", ready, response_model=schemas.ModelReady, responses=unready)
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            response_class=Response,
            responses=responses(infer_response(), 400, 408, 413, 415, 503),
            openapi_extra=infer_body(),
        )

    @router.api_route("/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    async def other(path: str) -> Response:
        if path in taken:  # by another method: this route takes all paths by both
            raise HTTPException(405, headers={"Allow": taken[path]})
        raise RefusedError(404, f"There is no {path[:100]!r}; this server has the model {name!r}, version {VERSION}.")

    return router


def answer_tensors(
    segmenter: Segmenter, body: bytes | bytearray, header_length: str | None, most_pixels: int, name: str
) -> tuple[bytes, int | None]:
    """The answer's body to an inference request's, and the length of its JSON before binary data. Runs in a thread.

    Raises:
        RefusedError: 400 if the request is not valid, 413 if it is too large, or needs more memory than there is.
    """
    with out_of_memory_refused():
        asked = read_request(body, header_length, most_pixels)
        found = segmenter.predict(asked.images, tuple(asked.outputs))
        return write_answer(asked, found, name, VERSION)


def describe(name: str, classes: int) -> dict[str, Any]:
    """The model's metadata; logits have one row and column for four of the image, rounded up."""
    images = [-1, -1, -1]
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [*images, 3]}],
        "outputs": [
            {"name": OUTPUTS[0], "datatype": "UINT8", "shape": images},
            {"name": OUTPUTS[1], "datatype": "FP32", "shape": images},
            {"name": LOGITS, "datatype": "FP32", "shape": [-1, classes, -1, -1]},
        ],
    }


def _readiness(request: Request, more: dict[str, str]) -> JSONResponse:
    ending = request.app.state.ending
    return JSONResponse({**more, "ready": not ending}, 503 if ending else 200)
