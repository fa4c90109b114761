"""What has not been answered when the service must end: it is answered 503, whatever it waits for."""

import anyio
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MESSAGE = "The service ends, and the answer was not ready in time; try again elsewhere, or later."


class CutOff:
    """ASGI middleware. For one event loop; what it wraps must not swallow a cancellation."""

    def __init__(self, app: ASGIApp, running: set[anyio.CancelScope]) -> None:
        self.app = app
        self.running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and be there to cut it off."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        with anyio.CancelScope() as mine:
            self.running.add(mine)
            try:
                await self.app(scope, receive, watched)
            finally:
                self.running.discard(mine)
        if mine.cancelled_caught and not begun:
            headers = {"Connection": "close", "Retry-After": "5"}
            await JSONResponse({"error": MESSAGE}, 503, headers)(scope, receive, send)


def cut_off(running: set[anyio.CancelScope]) -> None:
    """Cut off all that runs now; to be called in the event loop."""
    for scope in list(running):
        scope.cancel()
