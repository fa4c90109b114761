"""A web server of one's own, as unreliable as a test asks for."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Web:
    """Serves `files` by path on 127.0.0.1 and keeps the range of every request, "" for none."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.break_after: list[int] = []  # bytes that each of the next answers sends before the connection breaks
        self.statuses: list[int] = []  # of the next answers, in place of the file
        self.honours_range = True
        self.shift = 0  # by which the answer to a range misses what was asked for
        self.tells_length = True
        self.ranges: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{path}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path[1:]
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        if self.statuses:
            return self.empty(request, self.statuses.pop(0))
        if path in self.redirects:
            return self.empty(request, 302, {"Location": self.redirects[path]})
        if path not in self.files:
            return self.empty(request, 404)
        body = self.files[path]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.honours_range else 0
        if start and start >= len(body):
            return self.empty(request, 416, {"Content-Range": f"bytes */{len(body)}"})
        if start:
            start += self.shift
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        if self.tells_length:
            request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        request.wfile.write(body[start:][: self.break_after.pop(0) if self.break_after else None])
        return None

    def empty(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()
