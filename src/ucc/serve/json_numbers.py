"""The numbers of a JSON tensor, read as text: as JSON values they would take up to forty times the bytes of a body."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Of a request's JSON beside its numbers, which is parsed as a whole.
MOST_BYTES = 2**16
# Text that is read at once: no other thread runs meanwhile.
READ_AT_ONCE = 2**16
# What stands for the numbers in the JSON that is left.
TAKEN = [None]
_DATA = re.compile(rb'"data"\s*:\s*(\[[\s\[]*\d[\d\s,\[\]]*\])')
_WHITE = b" \t\r\n"


class Taken(NamedTuple):
    """A request's JSON with `TAKEN` in place of the numbers of `data`, and these as text, flat or nested."""

    rest: bytes | bytearray
    numbers: bytes | bytearray


def take_numbers(text: bytes | bytearray) -> Taken:
    """Part a request's JSON from the digits, commas and brackets of its first `data`; other values stay in it."""
    found = _DATA.search(text)
    if found is None:
        return Taken(text, b"")
    begin, end = found.span(1)
    return Taken(text[:begin] + b"[null]" + text[end:], text[begin:end])


def read_numbers(numbers: bytes | bytearray, shape: Sequence[int]) -> NDArray[np.uint8]:
    """The array of `shape` whose numbers are written flat or nested as it says.

    Raises:
        ValueError: if they are not so written, or not all from 0 to 255.
    """
    count = math.prod(shape)
    form = numbers.translate(None, b"0123456789" + _WHITE)
    if form.count(b",") != count - 1 or form not in (_flat(count), _nested(shape)):
        raise ValueError("not of the shape")
    found = np.empty(count, np.uint8)
    text, place, done = numbers.translate(None, b"[]"), 0, 0
    while place < len(text):
        end = text.find(b",", place + READ_AT_ONCE)
        written = bytes(text[place:]) if end < 0 else bytes(text[place:end])
        if not written.strip():
            raise ValueError("a number is missing")
        part = np.fromstring(written, np.int64, sep=" , ")  # what is beyond 64 bits becomes the largest of these
        # Reading ends at a gap.
        if part.size != written.count(b",") + 1 or part.max() > 255:
            raise ValueError("a number is missing, or larger than 255")
        found[done : done + part.size] = part
        place, done = place + len(written) + 1, done + part.size
    if done != count:
        raise ValueError("the last number is missing")
    return found.reshape(shape)


def _flat(count: int) -> bytes:
    return b"[" + b"," * (count - 1) + b"]"


def _nested(shape: Sequence[int]) -> bytes:
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text
