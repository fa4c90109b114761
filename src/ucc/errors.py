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
# What the machine may refuse to a correct program; any other OSError is a defect.
_REFUSED = {
    errno.ENOSPC: "Free some space, or move the project to a larger disk, and run again.",
    errno.EDQUOT: "Free some of your quota and run again.",
    errno.EFBIG: "Allow larger files (ulimit -f, or another file system) and run again.",
    errno.EROFS: "Write to a folder that allows it.",
    errno.EACCES: "Give yourself the permission (chmod, chown) and run again.",
    errno.EPERM: "Give yourself the permission (chmod, chown) and run again.",
    errno.EMFILE: "Allow more open files (ulimit -n) or lower train.workers, and run again.",
    errno.EIO: "The disk does not answer as it should; check it, then run again.",
}


class UserError(Exception):
    """Bad input that the user can mend.

    The message names the thing (key, file, value) and the remedy; it is printed without a traceback
    and the process exits with status 1.
    """


def require_file(path: Path, source: str) -> None:
    """Raise a `UserError` if `path` is no file, adding the sentence `source` on where one comes from, or unreadable."""
    if path.is_symlink() and not path.exists():
        raise UserError(
            f"{path}: a link to {path.readlink()}, which is not there. In a container that sees this folder alone, put "
            "the file itself in the place of the link (dvc unprotect); else mend the link (dvc checkout)."
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file. {source}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def refused(error: OSError) -> str | None:
    """What to tell the user if the machine refuses something to a correct program; None if it may be a defect."""
    if error.errno in _REFUSED:
        return f"{error.filename or 'writing'}: {error.strerror}. {_REFUSED[error.errno]}"
    return in_the_way(error)


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
