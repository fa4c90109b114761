"""Pictures of a few kilobytes that would cost hundreds of megabytes, or minutes, to decode: `HOSTILE`, by what they do.

Their pixels are not there. Decoders make room for them before they find that out.
"""

import struct
from pathlib import Path

import cv2
import numpy as np

SIDE = 9000
TIFF_SHORT, TIFF_LONG, TIFF_LONG8 = 3, 4, 16


def jpeg(height: int, width: int, progressive: bool = False) -> bytes:
    """A JPEG of 16x16 pixels that declares others."""
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    encoded = cv2.imencode(".jpg", np.full((16, 16, 3), 128, np.uint8), options)[1].tobytes()
    sizes = encoded.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return encoded[:sizes] + struct.pack(">HH", height, width) + encoded[sizes + 4 :]


def jpeg_with_a_size_that_only_a_careless_reader_meets(idle: bytes) -> bytes:
    """A marker without a length, `idle`, and an APP1 that a reader who takes FFE1 for its length jumps into."""
    small = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 8, 8, 1) + b"\x01\x11\x00"
    small += b"\xff\xda" + struct.pack(">H", 8) + b"\x01\x01\x00\x00\x3f\x00"
    content = (bytes(4 + 0xFFE1 - 8) + small).ljust(0xFFFF - 2, b"\0")
    return b"\xff\xd8" + idle + b"\xff\xe1\xff\xff" + content + jpeg(SIDE, SIDE)[2:]


def jpeg_of_scans(count: int, side: int = 16, between: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    encoded = jpeg(side, side, progressive=True)
    last = encoded.rindex(b"\xff\xda")
    return encoded[:last] + (between + encoded[last:-2]) * count + encoded[-2:]


def tiff(*sizes: tuple[int, int, int]) -> bytes:
    """A TIFF whose first entries are `sizes`, each a tag, its type and its value; a LONG8 lies at the value."""
    tags = {tag for tag, _, _ in sizes}
    where = (324, 325) if 322 in tags else (273, 279)
    common = [(258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (where[0], 4, 8), (where[1], 4, 8), (284, 3, 1)]
    entries = sorted([*sizes, *common], key=lambda entry: entry[0])
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\0" + struct.pack("<IQ", 24, 0) + struct.pack("<Q", SIDE) + directory + bytes(4)


def set_meaning_of_alpha(path: Path, meaning: int) -> None:
    """What a TIFF of Pillow's says of alpha (tag 338), always 2: 0 nothing, 1 colours are multiplied by it, 2 not."""
    before, after = path.read_bytes().split(struct.pack("<HHIH", 338, TIFF_SHORT, 1, 2))
    path.write_bytes(before + struct.pack("<HHIH", 338, TIFF_SHORT, 1, meaning) + after)


HOSTILE = {
    "a restart marker before a JPEG's size": jpeg_with_a_size_that_only_a_careless_reader_meets(b"\xff\xd0"),
    "a TEM marker before a JPEG's size": jpeg_with_a_size_that_only_a_careless_reader_meets(b"\xff\x01"),
    "a stuffed zero before a JPEG's size": jpeg_with_a_size_that_only_a_careless_reader_meets(b"\xff\x00"),
    "a JPEG of 3000 scans": jpeg_of_scans(3000, side=3000),
    "3000 scans with an end marker in a comment": jpeg_of_scans(3000, 3000, b"\xff\xfe\x00\x04\xff\xd9"),
    "a TIFF with two sizes": tiff(
        *((256, TIFF_LONG, SIDE), (256, TIFF_LONG, 8), (257, TIFF_LONG, SIDE), (257, TIFF_LONG, 8))
    ),
    "a TIFF whose size is elsewhere": tiff((256, TIFF_LONG8, 16), (257, TIFF_LONG8, 16)),
    "a TIFF of one huge tile": tiff(
        *((256, TIFF_LONG, 16), (257, TIFF_LONG, 16), (322, TIFF_LONG, 16000), (323, TIFF_LONG, 16000))
    ),
}
