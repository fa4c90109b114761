"""Photographs from files that anybody may have made: whole, of a bearable size, and as 8-bit RGB, or an error.

Headers are read before anything is decoded, because decoders allocate what a header asks for and fill what a file
lacks. NumPy and OpenCV only.
"""

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc import tiff
from ucc.errors import UserError
from ucc.pixel_limit import MAX_PIXELS

# A progressive JPEG has about ten, and each is work on all pixels: one of thousands would keep a core busy for minutes.
MAX_SCANS = 100
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

ByteOrder = Literal["little", "big"]


class Header(NamedTuple):
    """Pixels that an encoded image declares, before EXIF turns it, and whether it is whole.

    That is whether its end is there and, in a PNG, every checksum fits: no decoder may be relied on to look at those.
    Where decoding takes more than the pixels themselves, as of a TIFF whose tiles are larger than its image, these are
    the pixels that it takes.
    """

    height: int
    width: int
    whole: bool


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a photograph as RGB uint8 (H, W, 3), turned as its EXIF orientation says.

    Grey becomes RGB, 16 bits become 8, an alpha channel is dropped, and of several pages the first is taken.

    Raises:
        UserError: naming the file, if it cannot be read or decoded, is cut off, damaged or larger than `MAX_PIXELS`.
    """
    try:
        encoded = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        return decode_image(encoded)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def decode_image(encoded: bytes) -> NDArray[np.uint8]:
    """Decode the content of an image file; see `read_image`."""
    if not encoded:
        raise UserError("not an image, the file is empty.")
    header = read_header(encoded)
    if header is None:
        raise UserError("not an image of a known kind (JPEG, PNG, BMP, TIFF, WebP).")
    if header.height * header.width > MAX_PIXELS:
        raise UserError(f"declares {header.width}x{header.height} pixels, more than {MAX_PIXELS:,}; shrink it.")
    if not header.whole:
        raise UserError("an image that is cut off or damaged.")
    if encoded.startswith(tiff.SIGNATURES):
        encoded = tiff.with_colors_kept(encoded)
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # on some damage it raises, on most it returns None
        pixels = None
    if pixels is None:
        raise UserError("not an image that can be decoded.")
    # In place and in strips: a second copy of a large image may not fit.
    for top in range(0, pixels.shape[0], 256):
        cv2.cvtColor(pixels[top : top + 256].copy(), cv2.COLOR_BGR2RGB, dst=pixels[top : top + 256])
    return np.asarray(pixels, np.uint8)


def read_header(encoded: bytes) -> Header | None:
    """The header of an encoded image; None if it is of no known kind or its header is cut off or damaged.

    Raises:
        UserError: for a JPEG of more than `MAX_SCANS` scans, or a TIFF of which decoders make different pictures.
    """
    for signature, read in _READERS.items():
        if encoded.startswith(signature):
            try:
                return read(encoded)
            except IndexError:
                return None
    return None


def _read_jpeg(encoded: bytes) -> Header | None:
    """Walk the segments (ITU-T T.81, annex B) as libjpeg does: previews inside them have sizes and ends of their own.

    Nothing after the end marker counts, since cameras append more there.
    """
    height, width, scans, place = 0, 0, 0, 2
    while found := _JPEG_SEGMENT.search(encoded, place):
        # Before the pixels, only fill bytes may stand between segments: to misread one is to misread the rest.
        if not scans and encoded[place : found.start()].strip(b"\xff"):
            return None
        marker, place = encoded[found.end() - 1], found.end()
        if marker == 0xD9:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _number(encoded, place + 3, 2, "big"), _number(encoded, place + 5, 2, "big")
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            raise UserError(f"a JPEG of more than {MAX_SCANS} scans, which takes too long to decode; save it anew.")
        place += int.from_bytes(encoded[place : place + 2], "big")
    return Header(height, width, found is not None) if scans else None


def _read_png(encoded: bytes) -> Header:
    return Header(_number(encoded, 20, 4, "big"), _number(encoded, 16, 4, "big"), _chunks_fit(encoded))


def _chunks_fit(encoded: bytes) -> bool:
    """Whether all chunks up to a PNG's end are there with the right checksums (W3C PNG, 5.3).

    Pillow passes over those of the pixels: one flipped bit would turn a mask into another that looks as valid.
    """
    content, place = memoryview(encoded), 8
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        if end + 4 > len(content) or zlib.crc32(content[place + 4 : end]) != _number(encoded, end, 4, "big"):
            return False
        if encoded[place + 4 : place + 8] == b"IEND":
            return True
        place = end + 4
    return False


def _read_bmp(encoded: bytes) -> Header:
    if _number(encoded, 14, 4, "little") == 12:  # OS/2's, with numbers of two bytes and no compression
        height, width, depth = (_number(encoded, place, 2, "little") for place in (20, 18, 24))
        end = _number(encoded, 10, 4, "little") + (width * depth + 31) // 32 * 4 * height
        return Header(height, width, end <= len(encoded))
    height, width = _number(encoded, 22, 4, "little"), _number(encoded, 18, 4, "little")
    # A negative height means rows from top to bottom.
    height = min(height, 2**32 - height)
    compressed = _number(encoded, 30, 4, "little") in (1, 2)
    row = (width * _number(encoded, 28, 2, "little") + 31) // 32 * 4
    return Header(height, width, compressed or _number(encoded, 10, 4, "little") + row * height <= len(encoded))


def _read_tiff(encoded: bytes) -> Header | None:
    extent = tiff.read_extent(encoded)
    return extent and Header(*extent)


def _read_webp(encoded: bytes) -> Header | None:
    kind, whole = encoded[12:16], _number(encoded, 4, 4, "little") + 8 <= len(encoded)
    if kind == b"VP8X":
        return Header(_number(encoded, 27, 3, "little") + 1, _number(encoded, 24, 3, "little") + 1, whole)
    if kind == b"VP8L":
        bits = _number(encoded, 21, 4, "little")
        return Header((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, whole)
    if kind == b"VP8 ":
        return Header(_number(encoded, 28, 2, "little") & 0x3FFF, _number(encoded, 26, 2, "little") & 0x3FFF, whole)
    return None


def _number(encoded: bytes, place: int, count: int, order: ByteOrder) -> int:
    if place + count > len(encoded):
        raise IndexError
    return int.from_bytes(encoded[place : place + count], order)


# A marker that begins a segment, a scan or the end. Not restart markers and stuffed zeros, which have no length.
_JPEG_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_READERS: dict[bytes, Callable[[bytes], Header | None]] = {
    b"\xff\xd8\xff": _read_jpeg,
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"BM": _read_bmp,
    **dict.fromkeys(tiff.SIGNATURES, _read_tiff),
    b"RIFF": _read_webp,
}
