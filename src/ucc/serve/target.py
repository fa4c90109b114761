"""Requests whose target is a whole address, as clients send it to proxies (RFC 9112, section 3.2.2)."""

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_SERVER = re.compile(rb"(?i)https?://[^/]*")


class OriginForm:
    """ASGI middleware that takes `GET http://host/path` for `GET /path`, whatever the host."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its path."""
        if scope["type"] == "http" and (found := _SERVER.match(scope.get("raw_path", b""))):
            raw_path = scope["raw_path"][found.end() :] or b"/"
            scope = {**scope, "path": unquote(raw_path.decode("ascii")), "raw_path": raw_path}
        await self.app(scope, receive, send)
