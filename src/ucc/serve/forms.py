"""The one file of a form (RFC 7578), found without taking apart more of the form than it is worth."""

from collections.abc import Iterator
from email.message import Message

from ucc.serve.answers import MOST_CHARACTERS
from ucc.serve.limits import RefusedError

# A form with one picture has few other fields. What is read of a part is its head, as objects of many times its bytes,
# and in a time that grows with the square of a line.
MOST_PARTS = 100
MOST_HEADS = 2**13


def file_of_form(body: bytes | bytearray, content_type: str) -> bytes | bytearray:
    """The content of the one file in a form; a body of another content type as it is.

    Raises:
        RefusedError: 400 if the form is damaged, has no file or several, or far more beside it than a picture needs.
    """
    if len(content_type) > MOST_CHARACTERS:
        raise RefusedError(400, f"The Content-Type has more than {MOST_CHARACTERS} characters; send a shorter one.")
    form = Message()
    form["content-type"] = content_type
    if form.get_content_type() != "multipart/form-data":
        return body
    try:
        boundary = form.get_boundary()
    except (TypeError, ValueError):  # parts of a value (RFC 2231) that do not belong together
        boundary = None
    if not boundary or not boundary.isascii():
        raise RefusedError(400, "The form's Content-Type names no boundary.")
    files = _files(body, b"\r\n--" + boundary.encode("ascii"))
    if len(files) != 1:
        raise RefusedError(400, f"The form has {len(files)} files; send one picture.")
    (part,) = files
    return body[part]


def _files(body: bytes | bytearray, delimiter: bytes) -> list[slice]:
    """Where the contents of the files lie: of parts with a file name, or whose type is not text."""
    if body.count(delimiter) > MOST_PARTS:
        raise RefusedError(400, f"The form has more than {MOST_PARTS} parts; send one picture.")
    found, left = [], MOST_HEADS
    for part in _parts(body, delimiter):
        end = body.find(b"\r\n\r\n", part.start, part.stop)
        if end < 0:
            continue
        left -= end - part.start
        if left < 0:
            raise RefusedError(400, f"The form's parts have heads of more than {MOST_HEADS} bytes; send one picture.")
        if _is_file(body[part.start : end]):
            found.append(slice(end + 4, part.stop))
    return found


def _parts(body: bytes | bytearray, delimiter: bytes) -> Iterator[slice]:
    # The first delimiter needs no line break before it.
    first = delimiter[2:] if body.startswith(delimiter[2:]) else delimiter
    begin = _find(body, first, 0) + len(first)
    while not body.startswith(b"--", begin):
        end = _find(body, delimiter, begin)
        yield slice(begin, end)
        begin = end + len(delimiter)


def _find(body: bytes | bytearray, delimiter: bytes, begin: int) -> int:
    place = body.find(delimiter, begin)
    if place < 0:
        raise RefusedError(400, "The form's end is missing; send it whole.")
    return place


def _is_file(head: bytes | bytearray) -> bool:
    headers = Message()
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    try:
        named = headers.get_filename() is not None
    except (TypeError, ValueError) as error:
        raise RefusedError(400, "A part of the form has a Content-Disposition that cannot be read.") from error
    return named or headers.get_content_maintype() != "text"
