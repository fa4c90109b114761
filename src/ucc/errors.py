"""The error that is meant for the user rather than for the programmer."""

import errno
from collections.abc import Iterable
from pathlib import Path

SHOWN = 5
# What may stand in the way of a result, and what to do about it.
_IN_THE_WAY = {
    errno.EEXIST: "is a file where a folder is needed; move or remove it and run again.",
    errno.ENOTDIR: "cannot be written, since a file stands where a folder is needed; move or remove it and run again.",
    errno.EISDIR: "is a folder where a file is to be written; move or remove it and run again.",
}


class UserError(Exception):
    """Bad input that the user can mend.

    The message names the thing (key, file, value) and the remedy; it is printed without a traceback
    and the process exits with status 1.
    """


def in_the_way(error: OSError) -> str | None:
    """What to tell the user if a file stands where a folder is needed or the reverse; None for any other error."""
    if error.errno not in _IN_THE_WAY or error.filename is None:
        return None
    # That a folder exists already is no obstacle, but a defect of whoever did not expect it.
    if error.errno == errno.EEXIST and Path(error.filename).is_dir():
        return None
    return f"{error.filename}: {_IN_THE_WAY[error.errno]}"


def some(names: Iterable[str]) -> str:
    """The first few of many names, for a message, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def every(names: Iterable[str]) -> str:
    """All of many names, for a message about what is to be mended: a line each where they are more than a few."""
    listed = list(names)
    return ", ".join(listed) if len(listed) <= SHOWN else "".join(f"\n    {name}" for name in listed)
