"""The command `ucc`: each subcommand is a module of `ucc.commands`, imported when it is asked for."""

import importlib
import os
import sys
from collections.abc import Sequence

import ucc
from ucc.errors import UserError, refused
from ucc.pixel_limit import limit_decoders

# Name -> what it does; the module `ucc.commands.<name>` has `main(arguments) -> exit status`.
COMMANDS = {
    "segment": "segment images with an exported model",
    "serve": "segment over HTTP",
    "rank": "say which unlabelled images to label next",
    "triton": "write a model repository for Triton Inference Server",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status: 1 on an error, 2 on a wrong command line, 130 on Ctrl-C."""
    name, *rest = (list(sys.argv[1:]) if arguments is None else list(arguments)) or [""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"ucc {ucc.__version__}")
        return 0
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}\n\n{usage()}" if name else usage(), file=sys.stderr)
        return 2
    limit_decoders()
    # Its warnings, several for each GeoTIFF, would bury what is to be read; its errors may be all that tells of damage.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        status: int = importlib.import_module(f"ucc.commands.{name}").main(rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        words = refused(error) or f"{error.filename or 'writing'}: {error.strerror or error}"
        print(f"error: {words}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def usage() -> str:
    """What `ucc --help` prints."""
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: ucc COMMAND ...", "", *lines, "", "`ucc COMMAND --help` tells more."])
