"""Files from the network: resumed where they broke off, and kept only if their checksum is the expected one."""

import hashlib
import os
import re
import ssl
import sys
import time
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from ucc.errors import UserError
from ucc.files import explained
from ucc.progress import Progress

SCHEMES = ("http", "https")
TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5  # in a row that bring nothing new
PAUSE = 2.0  # seconds before another attempt, doubled for each further one
CHUNK = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that another attempt may change
RANGE_NOT_SATISFIABLE = 416


class _BrokenError(Exception):
    """An attempt failed in a way that another one may mend."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects from web address to web address only."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _require_web(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, destination: Path, checksum: str) -> None:
    """Download `url` to `destination`, whole and verified; a file that is there already is only verified.

    What arrives is kept as `<name>.part`, which the next attempt or the next call completes.

    Args:
        url: an address of the web, http or https.
        destination: the file to write; its folder is made if need be.
        checksum: `md5:` or `sha256:` and the hexadecimal digest.

    Raises:
        UserError: if the download fails, the checksum is another one or the disk is full; `destination` is not written.
    """
    _require_web(url)
    if destination.exists():
        if (found := _digest(destination, checksum)) != checksum.lower():
            raise UserError(
                f"{destination}: its checksum is {found}, expected {checksum}. Remove it and run the command again; "
                f"it is then downloaded from {url}."
            )
        return
    part = destination.with_name(f"{destination.name}.part")
    with explained(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
    _complete(url, part, checksum)
    if (found := _digest(part, checksum)) != checksum.lower():
        part.unlink()
        raise UserError(
            f"{url}: the checksum of what came is {found}, expected {checksum}. It was removed; run the command again. "
            f"If that does not help, the file has changed at its source: put the expected one at {destination}."
        )
    with explained(destination.parent):
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(destination)


def _complete(url: str, part: Path, checksum: str) -> None:
    """Attempt until `part` has all that the server holds, or nothing new came several times in a row."""
    most, failures = _size(part), 0
    while True:
        try:
            _attempt(url, part, checksum)
            return
        except _BrokenError as error:
            size = _size(part)
            failures = 1 if size > most else failures + 1
            most = max(most, size)
            if failures >= ATTEMPTS:
                kept = f" What has come is kept in {part} ({size} bytes), from where that goes on." if size else ""
                raise UserError(f"{url}: {error}. Run the command again later.{kept}") from error
            pause = PAUSE * 2 ** (failures - 1)
            # A line of progress may be open in a terminal.
            opening = "\n" if sys.stderr.isatty() else ""
            print(f"{opening}{url}: {error}; again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)


def _attempt(url: str, part: Path, checksum: str) -> None:
    """Ask for what `part` lacks and append it; if the server sends the whole file instead, start over."""
    offset = _size(part)
    headers = {"User-Agent": "ucc"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = _opener().open(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == RANGE_NOT_SATISFIABLE and offset:
            _check_end(part, checksum)
            return
        if error.code in PASSING:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from error
        raise UserError(f"{url}: the server answers {error.code} {' '.join(str(error.reason).split())}.") from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise UserError(f"{url}: the server's certificate is not trusted: {reason.verify_message}.") from error
        raise _BrokenError(f"no connection ({reason or type(error).__name__})") from error
    with response:
        start, total = _extent(response)
        if start not in (0, offset):
            part.unlink(missing_ok=True)
            raise _BrokenError(f"the server sent another part of the file than the one from byte {offset}")
        received = start + _append(response, part, start, total)
    if total is not None and received < total:
        raise _BrokenError(f"the connection broke off after {received} of {total} bytes")


def _append(response: HTTPResponse, part: Path, start: int, total: int | None) -> int:
    """Write what comes behind the first `start` bytes of `part`; return how many bytes came."""
    progress = Progress(f"downloading {part.stem}", total, "MB", per_unit=10**6, done=start)
    with explained(part.parent), part.open("ab" if start else "wb") as out:
        while chunk := _read(response):
            out.write(chunk)
            progress.advance(len(chunk))
    return progress.done - start


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenError(f"the connection broke off ({str(error) or type(error).__name__})") from error


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """First byte of what comes and the size of the whole file, None if the server does not tell."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return 0, int(length) if length.isdecimal() else None
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    # Without a valid Content-Range nobody knows what comes: a place that fits no file makes the attempt fail.
    if told is None:
        return -1, None
    start = int(told[1])
    if told[2] != "*":
        return start, int(told[2])
    return start, start + int(length) if length.isdecimal() else None


def _check_end(part: Path, checksum: str) -> None:
    """The server has nothing beyond `part`: it is whole already, or it is rubbish."""
    if _digest(part, checksum) != checksum.lower():
        part.unlink()
        raise _BrokenError("the server has nothing after what had come before, which was damaged")


def _opener() -> OpenerDirector:
    """What urllib's own opener does, without the handlers of local files and FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        _Redirects(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _require_web(url: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise UserError(f"{url}: only addresses that begin with http:// or https:// are downloaded.")


def _digest(path: Path, checksum: str) -> str:
    """Checksum of a file's bytes by the algorithm that `checksum` names, in the same notation."""
    algorithm = checksum.partition(":")[0]
    if algorithm not in ("md5", "sha256"):
        raise ValueError(f"{checksum}: a checksum begins with md5: or sha256:")
    with path.open("rb") as stream:
        # Checksums tell damage, they guard no secret; without the flag some systems refuse MD5.
        digest = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
