"""The tags of a TIFF's first page: its size, whether it is whole, and what decoders would make other pictures of.

NumPy only.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ucc.errors import UserError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two of BigTIFF
MOST_ENTRIES = 4096  # that libtiff reads

SHORT, LONG, LONG8 = 3, 4, 16
NUMBER_BYTES = {SHORT: 2, LONG: 4, LONG8: 8}

WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT = 256, 257, 322, 323
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 258, 259, 262, 277, 284, 339
# What further channels are: alpha by which colours are multiplied already, or are not, or something else.
EXTRA_SAMPLES, MULTIPLIED, NOT_MULTIPLIED = 338, 1, 2
# Where the parts of the picture lie, and how long they are: strips of so many rows, or tiles.
STRIPS, TILES, ROWS_PER_STRIP = (273, 279), (324, 325), 278

GREYS, RGB, CIELAB = (0, 1), 2, 8
INTERLEAVED, PLANE_BY_PLANE = 1, 2
UNSIGNED = 1
UNCOMPRESSED = 1
# And CCITT, LZW, both JPEGs, Deflate, PackBits, ThunderScan. Of others OpenCV makes a black picture, or none.
READ_COMPRESSIONS = frozenset({UNCOMPRESSED, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946})
MOST_CHANNELS = 4

ByteOrder = Literal["little", "big"]


class Extent(NamedTuple):
    """Pixels that decoding takes, of the image or of a tile that is larger, and whether all that is stored is there."""

    height: int
    width: int
    whole: bool


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int
    place: int


def read_extent(encoded: bytes) -> Extent | None:
    """The extent of a TIFF's first page; None if its tags are not as they should be.

    Raises:
        UserError: for colours, channels, bits or compression of which not all decoders make the same picture.
        IndexError: if what it says lies beyond its end.
    """
    entries: dict[int, _Entry] = {}
    for entry in _entries(encoded):
        entries.setdefault(entry.tag, entry)  # of a tag that stands there twice libtiff takes the first
    extents = (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT)
    told = (*extents, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT, EXTRA_SAMPLES, ROWS_PER_STRIP)
    found = [entries[tag] for tag in told if tag in entries]
    if not {WIDTH, HEIGHT} <= entries.keys() or any(entry.kind not in (SHORT, LONG) for entry in found):
        return None
    tags = {entry.tag: int(_numbers(encoded, entry)[0]) for entry in found}
    _refuse_disagreement(tags)
    # A tile is decoded whole, however little of it the image needs.
    image, tile = (tags[HEIGHT], tags[WIDTH]), (tags.get(TILE_HEIGHT, 0), tags.get(TILE_WIDTH, 0))
    whole = True
    for places, lengths in (STRIPS, TILES):
        if {places, lengths} <= entries.keys():
            # As floats, which do not overflow.
            begins, sizes = (_numbers(encoded, entries[tag]).astype(float) for tag in (places, lengths))
            if places in STRIPS and tags.get(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED:
                sizes = np.minimum(sizes, _row_bytes(len(sizes), tags))
            count = min(len(begins), len(sizes))
            whole &= bool(np.all(begins[:count] + sizes[:count] <= len(encoded)))
    return Extent(*max(image, tile, key=math.prod), whole)


def with_colors_kept(encoded: bytes) -> bytes:
    """The same TIFF, so that its decoder leaves colours as they are stored.

    OpenCV's, told of alpha that colours are yet to be multiplied by, multiplies and then drops alpha; told that they
    are multiplied already, it only drops it, as decoders of other kinds do in each case.
    """
    kept = encoded
    for entry in _entries(encoded):
        if entry.tag != EXTRA_SAMPLES or entry.kind != SHORT:
            continue
        for place in range(entry.place, entry.place + 2 * min(entry.length, MOST_CHANNELS), 2):
            if _number(encoded, place, 2) == NOT_MULTIPLIED:
                kept = kept[:place] + MULTIPLIED.to_bytes(2, _order(encoded)) + kept[place + 2 :]
    return kept


def _refuse_disagreement(tags: dict[int, int]) -> None:
    photometric, channels, bits = tags.get(PHOTOMETRIC), tags.get(SAMPLES, 1), tags.get(BITS, 1)
    planar = tags.get(PLANAR, INTERLEAVED)
    if photometric == CIELAB:
        raise UserError("a TIFF of CIELab colours, of which decoders make different pictures; save it as RGB.")
    compression = tags.get(COMPRESSION, UNCOMPRESSED)
    if compression not in READ_COMPRESSIONS:
        raise UserError(f"a TIFF of compression {compression}, which is not read; save it with LZW, Deflate or none.")
    if bits > 8 and bits != 16:
        raise UserError(f"a TIFF of neither 8 nor 16 bits a channel but {bits}; save it as 8-bit RGB or grey.")
    if tags.get(SAMPLE_FORMAT, UNSIGNED) != UNSIGNED:
        raise UserError("a TIFF of signed or floating-point numbers; scale and save it as 8-bit RGB or grey.")
    if channels > MOST_CHANNELS:
        raise UserError(f"a TIFF of {channels} channels; save the three to be seen as RGB.")
    with_alpha = bits <= 8 and photometric == 1 and planar == INTERLEAVED
    if photometric in GREYS and channels > 1 + with_alpha:
        raise UserError(
            f"a TIFF of {channels} channels that it does not call colours; write three with photometric=RGB, or one."
        )
    if photometric == RGB and channels > 3 and planar == PLANE_BY_PLANE and tags.get(EXTRA_SAMPLES) != NOT_MULTIPLIED:
        raise UserError(f"a TIFF of {channels} channels, stored plane by plane; save it pixel by pixel, or as RGB.")


def _row_bytes(strips: int, tags: dict[int, int]) -> NDArray[np.float64]:
    """How many bytes the rows of uncompressed strips are: some writers say more of the last one."""
    height, rows = tags[HEIGHT], max(1, min(tags.get(ROWS_PER_STRIP, tags[HEIGHT]), tags[HEIGHT]))
    channels = 1 if tags.get(PLANAR) == PLANE_BY_PLANE else tags.get(SAMPLES, 1)
    place = np.arange(strips, dtype=float) % max(1, math.ceil(height / rows))
    held: NDArray[np.float64] = np.minimum(rows, height - place * rows)
    return held * math.ceil(tags[WIDTH] * channels * tags.get(BITS, 1) / 8)


def _entries(encoded: bytes) -> Iterator[_Entry]:
    """The tags of the first page (TIFF 6.0, section 2), and where the numbers of each lie."""
    is_big = encoded.startswith(SIGNATURES[2:])
    word, counter = (8, 8) if is_big else (4, 2)
    directory = _number(encoded, word, word)
    count = _number(encoded, directory, counter)
    if count > MOST_ENTRIES:
        raise IndexError
    for begin in range(directory + counter, directory + counter + count * (4 + 2 * word), 4 + 2 * word):
        tag, kind = _number(encoded, begin, 2), _number(encoded, begin + 2, 2)
        values, place = _number(encoded, begin + 4, word), begin + 4 + word
        if values * NUMBER_BYTES.get(kind, 0) > word:
            place = _number(encoded, place, word)
        yield _Entry(tag, kind, values, place)


def _numbers(encoded: bytes, entry: _Entry) -> NDArray[np.unsignedinteger]:
    size = NUMBER_BYTES.get(entry.kind, 0)
    if not size or not entry.length or entry.place + size * entry.length > len(encoded):
        raise IndexError
    order = "<" if _order(encoded) == "little" else ">"
    return np.frombuffer(encoded, f"{order}u{size}", entry.length, entry.place)


def _number(encoded: bytes, place: int, size: int) -> int:
    if place + size > len(encoded):
        raise IndexError
    return int.from_bytes(encoded[place : place + size], _order(encoded))


def _order(encoded: bytes) -> ByteOrder:
    return "little" if encoded.startswith(b"II") else "big"
