"""The service as an ASGI application: which address is answered by what."""

from functools import partial

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import ucc
from ucc.segmenter import Segmenter
from ucc.serve import openapi, schemas
from ucc.serve.answers import choose
from ucc.serve.bodies import CLOSE, Bodies, LastAnswer
from ucc.serve.cut_off import CutOff
from ucc.serve.docs_page import POLICY, write_docs
from ucc.serve.head import Head, allowed
from ucc.serve.limits import Limits, NoMemoryError, RefusedError
from ucc.serve.log import LOGGER, AccessLog, describe
from ucc.serve.open_inference import health_routes, model_routes
from ucc.serve.page import add_page
from ucc.serve.parting import Parting
from ucc.serve.pictures_api import ANSWERS, answer_picture, describe_model
from ucc.serve.slots import Slots
from ucc.serve.target import OriginForm
from ucc.serve.telemetry import Measured, Telemetry

NAME = "segmenter"
DESCRIPTION = "Segments pictures: the class of every pixel, and how uncertain it is."


def create_app(segmenter: Segmenter, limits: Limits | None = None, name: str = NAME) -> FastAPI:
    """The service for one loaded model, which should work with one thread: a request is computed on one.

    `name` is what the model is called in addresses: letters, digits, '_', '-' and '.'.
    While `app.state.ending` is true, it calls itself not ready, and closes connections with their next answer.
    `app.state.running` holds what `cut_off` cuts off, and `app.state.slots` the threads that are at work.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="ucc",
        description=DESCRIPTION,
        version=ucc.__version__,
        # FastAPI's own pages load their scripts from the network, and its schema has no route to be counted under.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    slots, bodies = Slots(limits), Bodies(limits)
    app.state.ending, app.state.running, app.state.slots = False, set(), slots
    telemetry = Telemetry(slots, bodies)
    app.add_middleware(CutOff, running=app.state.running)
    app.add_middleware(Measured, telemetry=telemetry)
    app.add_middleware(Parting, state=app.state)
    app.add_middleware(Head)  # what is counted is a GET, under its route
    app.add_middleware(AccessLog)
    app.add_middleware(OriginForm)  # the last is the outermost
    _answer_errors(app, limits)
    app.include_router(_picture_routes(segmenter, name, limits, slots, bodies))
    app.include_router(health_routes())
    app.include_router(model_routes(segmenter, name, limits, slots, bodies))
    _add_pages(app, telemetry)
    add_page(app)
    openapi.complete(app)
    return app


def _picture_routes(segmenter: Segmenter, name: str, limits: Limits, slots: Slots, bodies: Bodies) -> APIRouter:
    router = APIRouter(tags=["Pictures"])

    @router.get("/model", response_model=schemas.ModelAnswer)
    async def model() -> JSONResponse:
        """The model that is served."""
        return JSONResponse(describe_model(segmenter, name, limits))

    @router.post(
        "/segment",
        response_class=Response,
        responses=openapi.responses(openapi.picture_response(), 400, 406, 408, 413, 415, 503),
        openapi_extra=openapi.picture_body(),
    )
    async def segment(request: Request) -> Response:
        """A picture's class map, overlay, uncertainty, or all of it as JSON."""
        answer = choose(request.headers.getlist("accept"), ANSWERS)
        slots.check_room()
        async with bodies.read(request) as body:
            content_type = request.headers.get("content-type", "")
            work = partial(answer_picture, segmenter, body, content_type, answer, limits)
            content = await slots.run(request, work)
        return bodies.answer(content, answer.partition(";")[0], {"Vary": "Accept"})

    return router


def _add_pages(app: FastAPI, telemetry: Telemetry) -> None:
    @app.get("/metrics", response_class=PlainTextResponse, tags=["Operation"])
    async def metrics() -> Response:
        """Requests, their seconds, the queue and the process, for Prometheus."""
        return Response(telemetry.page(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json", include_in_schema=False)
    async def schema() -> Response:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(write_docs(app.openapi()), headers={"Content-Security-Policy": POLICY})


def _answer_errors(app: FastAPI, limits: Limits) -> None:
    """Answer every error as `{"error": message}`."""

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> Response:
        if isinstance(error, NoMemoryError):
            LOGGER.warning("%s refused: %s", describe(request.scope), error)
        content = {"error": str(error)}
        if CLOSE.items() <= error.headers.items():
            return LastAnswer(content, error.status, error.headers, limits.body)
        return JSONResponse(content, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def fail(request: Request, error: HTTPException) -> Response:
        path, headers, message = repr(request.url.path[:100]), dict(error.headers or {}), f"{error.detail}."
        if error.status_code == 404:
            message = f"There is nothing at {path}; GET /docs lists the addresses."
        elif error.status_code == 405:
            headers["Allow"] = allowed(headers.get("Allow", ""))
            message = f"{path} does not take {request.method}, but {headers['Allow']}; GET /docs tells more."
        return JSONResponse({"error": message}, error.status_code, headers)

    @app.exception_handler(Exception)
    async def crash(request: Request, _: Exception) -> Response:
        LOGGER.error("%s failed; the traceback follows.", describe(request.scope))
        return JSONResponse({"error": "The service failed; its log tells why."}, 500)
