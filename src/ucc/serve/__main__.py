"""Start the service: `python -m ucc.serve models/segmenter.onnx`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from ucc.errors import UserError
from ucc.segmenter import Segmenter
from ucc.serve.app import Limits, create_app


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    options = _parse(arguments)
    try:
        segmenter = Segmenter(options.model, options.threads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    limits = Limits(body=options.max_bytes, pixels=options.max_pixels)
    uvicorn.run(create_app(segmenter, limits), host=options.host, port=options.port, access_log=False)
    return 0


def _parse(arguments: Sequence[str] | None) -> Any:
    defaults = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m ucc.serve",
        description="Segment pictures over HTTP: curl --data-binary @photo.jpg 127.0.0.1:8000/segment -o map.png",
    )
    parser.add_argument("model", type=Path, help="the .onnx file that the stage `export` wrote")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, reached from this machine alone")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=0, help="0 (default): as many as onnxruntime finds sensible")
    parser.add_argument("--max-bytes", type=int, default=defaults.body, metavar="N", help="of a request's body")
    parser.add_argument("--max-pixels", type=int, default=defaults.pixels, metavar="N", help="of a picture")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
