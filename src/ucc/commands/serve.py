"""`ucc serve`: an exported model as an HTTP service."""

import argparse
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ucc.commands.arguments import add_providers, check_model_name, positive
from ucc.errors import UserError
from ucc.pixel_limit import MAX_PIXELS, limit_decoders
from ucc.serve.limits import Limits


def main(arguments: Sequence[str]) -> int:
    """Serve the model that the command line names until a signal; returns the exit status.

    Raises:
        UserError: if the packages for it are missing, the model cannot be used, or the address is taken.
    """
    options = _parse(arguments)
    with _ended_by_sigterm():
        return _serve(options)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End with success on SIGTERM before the service begins: by default a container's first process ignores it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(options: Any) -> int:
    names = ("body", "pixels", "concurrency", "queue", "body_seconds", "queue_seconds")
    given = {name: getattr(options, name) for name in names}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    # OpenCV, which the imports below load, reads it then.
    limit_decoders(limits.pixels)
    try:
        from ucc.segmenter import Segmenter
        from ucc.serve.app import create_app
        from ucc.serve.server import KEEP_ALIVE_SECONDS, listen, serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"ucc serve needs the package {error.name}: pip install '.[serve]' in the folder of this project."
        ) from error
    segmenter = Segmenter(options.model, threads=1, providers=options.provider)
    app = create_app(segmenter, limits, check_model_name(options.name))
    with listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(
            f"{options.model} at http://{address} "
            f"({segmenter.providers[0]}, {limits.concurrency} at once, {limits.waiting} may wait)",
            flush=True,
        )
        times = (options.drain_seconds, options.end_seconds, options.keep_alive_seconds or KEEP_ALIVE_SECONDS)
        return serve(app, listener, *times, options.access_log)


def _parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="ucc serve",
        description="Segment pictures over HTTP: curl --data-binary @photo.jpg 127.0.0.1:8000/segment -o classes.png. "
        "/docs lists what else it answers.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the .onnx file that the stage `export` wrote")
    parser.add_argument("--name", default="segmenter", help="what the model is called at /v2 (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, reached from this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0: any that is free")
    parser.add_argument(
        "--concurrency", type=positive, metavar="N", help="requests at once, one thread each (default: the cores)"
    )
    parser.add_argument(
        "--queue", type=positive, metavar="N", help="requests that may wait (default: four times as many)"
    )
    parser.add_argument(
        "--max-bytes", type=positive, dest="body", metavar="N", help="of a request's body (default: 20 million)"
    )
    parser.add_argument(
        "--max-pixels",
        type=_pixels,
        dest="pixels",
        metavar="N",
        help=f"of a picture (default: 16 million, at most {MAX_PIXELS:,})",
    )
    parser.add_argument(
        "--body-seconds", type=_seconds, metavar="S", help="for a request's body to arrive (default: 30)"
    )
    parser.add_argument(
        "--queue-seconds", type=positive, metavar="S", help="for a request to wait for its turn (default: 60)"
    )
    parser.add_argument(
        "--keep-alive-seconds",
        type=positive,
        metavar="S",
        help="for a connection to stay without a request; longer than a proxy keeps its own (default: 75)",
    )
    parser.add_argument(
        "--drain-seconds",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="after SIGTERM, go on accepting for so long while /v2/health/ready says 503 (default: %(default)g)",
    )
    parser.add_argument(
        "--end-seconds",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="then, for what has begun to be finished (default: %(default)g)",
    )
    add_providers(parser)
    parser.add_argument("--access-log", action="store_true", help="log every request, with its status and seconds")
    return parser.parse_args(arguments)


def _pixels(text: str) -> int:
    pixels = positive(text)
    if pixels > MAX_PIXELS:
        raise argparse.ArgumentTypeError(f"{text}: no image of more than {MAX_PIXELS:,} pixels is read")
    return pixels


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of seconds, 0 or more")
    return seconds
