"""The service's log: what fails, and where it is asked for every request, in lines that tell when and which."""

import logging
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGGER = logging.getLogger("ucc.serve")
ACCESS = logging.getLogger("ucc.serve.access")
# Of a path or an id that a client sent.
SHOWN = 200


def log_config(requests: bool) -> dict[str, Any]:
    """Settings for `logging.config.dictConfig`: warnings and errors to standard error, and `requests` if wanted."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s", "datefmt": "%Y-%m-%dT%H:%M:%S%z"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            LOGGER.name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            ACCESS.name: {"level": "INFO" if requests else "WARNING"},
        },
    }


def describe(scope: Scope) -> str:
    """A request in a log: `POST /segment`, and what its header X-Request-Id says."""
    path = scope.get("raw_path", b"").decode("ascii", "replace")
    given = Headers(scope=scope).get("x-request-id")
    return f"{scope['method']} {path[:SHOWN]}" + (f" (X-Request-Id {given[:SHOWN]!r})" if given else "")


class AccessLog:
    """ASGI middleware that logs every request with its client, status and seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it once it is answered; without a status if it never was."""
        if scope["type"] != "http" or not ACCESS.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), "-"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            client, _ = scope.get("client") or ("-", 0)
            ACCESS.info("%s %s %s %.3f s", client, describe(scope), status, time.perf_counter() - begin)
