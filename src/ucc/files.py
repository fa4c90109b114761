"""Files that are either whole or absent: every result is written beside its place, then renamed into it.

What is being written is called `.<name>.partial.<letters>`. A kill leaves it behind, and `sweep` removes it later.
"""

import csv
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ucc.errors import UserError, in_the_way

if sys.platform != "win32":  # where the exported segmenter runs, too
    import fcntl

# It can only be read by setting it, which another thread that makes a file at that moment would notice.
UMASK = os.umask(0)
os.umask(UMASK)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` when the block succeeds.

    The data reach the disk before the rename, so a crash leaves the old file or the new one, whole.
    On an error the temporary file is removed and `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.partial.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with _held(temporary):
            yield temporary
            # mkstemp makes files private; results are as readable as any other file of the user.
            temporary.chmod(0o666 & ~UMASK)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except OSError as error:
        # A failed write knows no name, and that of the temporary file would tell nobody anything.
        if error.filename is None or Path(str(error.filename)) == temporary:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; let it replace `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.partial."))
    try:
        with _held(temporary):
            yield temporary
            temporary.chmod(0o777 & ~UMASK)
            # Folders cannot be exchanged in one step: the old one stands aside until the new one is in place.
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.partial."))
            with _held(aside):
                if path.exists():
                    path.rename(aside / path.name)
                temporary.rename(path)
                shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the operating system says while files go into `folder` into a `UserError` that names a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{folder}: no space left on the disk. Make room and run the command again.") from error
        if words := in_the_way(error):
            raise UserError(words) from error
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error} while writing to {folder}. Mend it and run again."
        ) from error


def sweep(folder: Path) -> None:
    """Remove what `atomic_path` and `atomic_folder` of processes that were killed left in `folder`.

    What a living process is writing stays: it holds a lock, which ends with the process.
    """
    if sys.platform == "win32":
        return
    for leftover in folder.glob(".*.partial.*"):
        try:
            handle = os.open(leftover, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(leftover)
        except OSError:
            continue
        finally:
            os.close(handle)


def wait_for_lock(held: IO[Any], told: str) -> None:
    """Lock an open file until it is closed or the process ends; say `told` if another process has to end before.

    On file systems without locks nobody waits.
    """
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(told, flush=True)
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError:
        pass


def remove(path: Path) -> None:
    """Delete a file, or a folder with all in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, since other readers cannot parse it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write `rows` atomically under the header `columns`; a missing or None value is an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have an `OSError` name `path` in place of a temporary file, whose random name would tell nobody anything."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Lock what is being written against `sweep`; on file systems without locks, nothing is ever swept."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
