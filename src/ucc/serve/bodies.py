"""Bodies of requests and of answers, received and sent within limits of bytes and of time."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ucc.serve.connections import ABORT
from ucc.serve.limits import Limits, RefusedError

# A client that is still sending would be listened to until its end.
CLOSE = {"Connection": "close"}
# But for so long, and so many times the bytes of a body, it is: one that sends before it reads meets a connection that
# is closed at once as broken, and never sees why (RFC 9112, section 9.6).
LINGER_SECONDS = 5.0
LINGER_BODIES = 4
# Of an answer that is sent: no more is left to the operating system and the event loop, where nobody counts it.
SENT_AT_ONCE = 2**16
# For a client to take its answer, and how many bytes of it win a second more.
TAKING_SECONDS = 30.0
BYTES_PER_SECOND = 100_000


class Bodies:
    """Reads bodies, sends answers, and counts the bytes of all that are in memory. For one event loop.

    Attributes:
        received: bytes of requests.
        untaken: bytes of answers that their clients have not taken yet.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.received = 0
        self.untaken = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """The request's body, as it was sent, until the block ends.

        Raises:
            RefusedError: 400 for a client that hung up, 408 for one that is too slow, 413 for a body that announces or
                has more bytes than allowed, 415 for a compressed one, 503 where all bodies together are too many bytes.
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise RefusedError(415, f"The body's Content-Encoding is {coding!r}; send it without.", CLOSE)
        body = bytearray()
        try:
            with anyio.move_on_after(self._limits.body_seconds) as patience:
                await self._receive(request, body)
            if patience.cancelled_caught:
                took = f"within {self._limits.body_seconds:g} seconds"
                raise RefusedError(408, f"The body was not complete {took}; send a smaller one, or faster.", CLOSE)
            yield body
        finally:
            self.received -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        most = self._limits.body
        too_large = RefusedError(413, f"The body is larger than {most} bytes; send a smaller one.", CLOSE)
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced) > most:
            raise too_large
        try:
            async for chunk in request.stream():
                if len(body) + len(chunk) > most:
                    raise too_large
                if self.received + len(chunk) > self._limits.held:
                    raise RefusedError(
                        503, "Busy: too many large bodies at once; try again in 5 s.", CLOSE | {"Retry-After": "5"}
                    )
                body += chunk
                self.received += len(chunk)
        except ClientDisconnect as error:
            raise RefusedError(400, "The client hung up before the body was complete.") from error

    def answer(self, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
        """An answer that counts as held until its client has taken it; alone it may have any size.

        Raises:
            RefusedError: 503 where all answers together are too many bytes.
        """
        if self.untaken and self.untaken + len(content) > self._limits.held:
            raise RefusedError(
                503, "Busy: too many large answers that are not taken yet; try again in 5 s.", {"Retry-After": "5"}
            )
        return _CountedAnswer(self, content, media_type, headers)


class _CountedAnswer(Response):
    """An answer that is sent no faster than it is taken; a client that is too slow loses its connection."""

    def __init__(self, bodies: Bodies, content: bytes, media_type: str, headers: Mapping[str, str] | None) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._bodies = bodies

    # The arguments' names are ASGI's.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer in parts: the server lets each wait for the one before."""
        size = len(self.body)
        abort = scope.get("state", {}).get(ABORT, lambda: None)
        due = asyncio.get_running_loop().call_later(TAKING_SECONDS + size / BYTES_PER_SECOND, abort)
        self._bodies.untaken += size
        try:
            # When the service must end, whoever ends it aborts the connection.
            with anyio.CancelScope(shield=True):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                for end in range(SENT_AT_ONCE, size + SENT_AT_ONCE, SENT_AT_ONCE):
                    part = bytes(self.body[end - SENT_AT_ONCE : end])
                    await send({"type": "http.response.body", "body": part, "more_body": end < size})
        finally:
            self._bodies.untaken -= size
            due.cancel()


class LastAnswer(JSONResponse):
    """An answer to a client that may still be sending: what more comes is dropped before the connection is closed."""

    def __init__(self, content: Any, status: int, headers: Mapping[str, str], most: int) -> None:
        super().__init__(content, status, headers)
        self._most = most * LINGER_BODIES

    # The arguments' names are ASGI's.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer, and listen for a while."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with anyio.move_on_after(LINGER_SECONDS):
            left = self._most
            while left > 0:
                message = await receive()
                if not message.get("more_body"):  # the body's end, or the client's
                    break
                left -= len(message["body"])
        await send({"type": "http.response.body", "body": b""})
