"""What long work tells on stdout and stderr: that nobody reads it any more ends no work."""

import os
import sys


def tell(text: object, end: str = "\n", error: bool = False) -> None:
    """Print on stdout, or on stderr if `error`, at once.

    Where the reader of a pipe is gone, this and all that follows goes nowhere: Ctrl-C ends the `tee` of
    `2>&1 | tee log` too, before a training has written its checkpoint.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, end=end, file=stream, flush=True)
    except BrokenPipeError:
        to_nowhere(stream.fileno())  # what the stream still holds would end the interpreter with an error


def to_nowhere(number: int) -> None:
    """Have what is written to a file descriptor go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
