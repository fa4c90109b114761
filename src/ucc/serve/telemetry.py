"""What the service tells Prometheus: requests, how long they took, how many are at work, wait or were refused."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ucc.serve.bodies import Bodies
from ucc.serve.slots import Slots

# Seconds: from an answer out of memory to a picture in many tiles.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Telemetry:
    """Metrics of one service, in a registry of their own."""

    def __init__(self, slots: Slots, bodies: Bodies) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("ucc_requests", "Requests answered.", ("endpoint", "status"), registry=self.registry)
        self._seconds = Histogram(
            "ucc_request_seconds",
            "From a request's headers to the end of its answer, by class of status: refusals take no time.",
            ("endpoint", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        for name, what, value in (
            ("ucc_in_flight", "Requests being computed.", lambda: slots.working),
            ("ucc_queue_depth", "Requests that wait for their turn.", lambda: slots.waiting),
            (
                "ucc_held_bytes",
                "Bodies of requests, and of answers not taken yet.",
                lambda: bodies.received + bodies.untaken,
            ),
        ):
            Gauge(name, what, registry=self.registry).set_function(value)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def count(self, endpoint: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(endpoint, status).inc()
        self._seconds.labels(endpoint, f"{status // 100}xx").observe(seconds)


class Measured:
    """ASGI middleware that counts every request under its route's path, and files under their folder's.

    Paths that are none count together.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its answer; an error that nobody caught is answered 500 further out."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status, outside = time.perf_counter(), 500, scope.get("root_path", "")

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # Whoever serves a folder of files sets no route, but adds the folder to the root.
            folder = scope.get("root_path", "").removeprefix(outside)
            endpoint = getattr(scope.get("route"), "path", folder or "other")
            self.telemetry.count(endpoint, status, time.perf_counter() - begin)
