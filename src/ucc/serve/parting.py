"""While the service ends, every answer is the last on its connection: clients that keep theirs look elsewhere."""

from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Parting:
    """ASGI middleware that adds `Connection: close` (RFC 9112, section 9.6) to answers while `state.ending` is true."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what counts is whether the service ends when it answers."""

        async def parting(message: Message) -> None:
            if message["type"] == "http.response.start" and self.state.ending:
                kept = [header for header in message["headers"] if header[0].lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
            await send(message)

        await self.app(scope, receive, parting)
