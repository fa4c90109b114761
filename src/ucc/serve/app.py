"""The service as an ASGI application: which address is answered by what."""

from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import ucc
from ucc.segmenter import Segmenter
from ucc.serve.answers import choose
from ucc.serve.bodies import Bodies
from ucc.serve.limits import Limits, RefusedError
from ucc.serve.pictures_api import ANSWERS, answer_picture, describe_model
from ucc.serve.slots import Slots
from ucc.serve.telemetry import Measured, Telemetry


def create_app(segmenter: Segmenter, limits: Limits | None = None) -> FastAPI:
    """The service for one loaded model, which should work with one thread: a request is computed on one.

    While `app.state.ending` is true, it calls itself not ready.
    """
    limits = limits or Limits()
    # FastAPI's own pages load their scripts from the network.
    app = FastAPI(title="ucc", version=ucc.__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.ending = False
    slots, bodies = Slots(limits), Bodies(limits)
    telemetry = Telemetry(slots, bodies)
    name = segmenter.metadata.get("name", "segmenter")
    app.add_middleware(Measured, telemetry=telemetry)
    _answer_errors(app)

    @app.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": not app.state.ending}, 503 if app.state.ending else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(telemetry.page(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/model")
    async def model() -> JSONResponse:
        return JSONResponse(describe_model(segmenter, name, limits))

    @app.post("/segment")
    async def segment(request: Request) -> Response:
        answer = choose(request.headers.getlist("accept"), ANSWERS)
        slots.check_room()
        async with bodies.read(request) as body:
            content_type = request.headers.get("content-type", "")
            work = partial(answer_picture, segmenter, body, content_type, answer, limits)
            return Response(await slots.run(request, work), media_type=answer.split(";")[0], headers={"Vary": "Accept"})

    # The page at / goes here: add_page(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Answer every error as `{"error": message}`."""

    @app.exception_handler(RefusedError)
    async def refuse(_: Request, error: RefusedError) -> Response:
        return JSONResponse({"error": str(error)}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def fail(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": f"{error.detail}."}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def crash(_: Request, __: Exception) -> Response:
        return JSONResponse({"error": "The service failed; its log tells why."}, 500)
