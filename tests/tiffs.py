"""TIFF files as GDAL, rasterio and tifffile write them and neither Pillow nor OpenCV does, uncompressed."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY_FROM_WHITE, GREY, RGB = 0, 1, 2
PLANE_BY_PLANE = 2
UNSIGNED, SIGNED = 1, 2
FORMATS = {3: "H", 4: "I", 16: "Q"}


def write_tiff(
    path: Path,
    pixels: NDArray[Any],
    photometric: int,
    planar: int = 1,
    extra: tuple[int, ...] = (),
    sample_format: int = UNSIGNED,
    compression: int = 1,
    order: str = "<",
    big: bool = False,
    own_tag: bool = False,
    spare: int = 0,
) -> Path:
    """Write pixels (H, W) or (H, W, C); the directory stands before them, so that what is cut off is pixels.

    With `own_tag` there is one that no decoder knows, as in GeoTIFF. The last strip is said to be `spare` bytes longer
    than it is.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    planes = list(np.moveaxis(pixels, -1, 0)) if planar == PLANE_BY_PLANE and channels > 1 else [pixels]
    stored = [plane.astype(pixels.dtype.newbyteorder(order)).tobytes() for plane in planes]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [pixels.shape[1]]),
        257: (4, [pixels.shape[0]]),
        258: (3, [pixels.dtype.itemsize * 8] * channels),
        259: (3, [compression]),
        262: (3, [photometric]),
        273: (16 if big else 4, [0] * len(stored)),
        277: (3, [channels]),
        278: (4, [pixels.shape[0]]),
        279: (4, [len(strip) for strip in stored]),
        284: (3, [planar]),
        339: (3, [sample_format] * channels),
        **({338: (3, list(extra))} if extra else {}),
        **({65000: (3, [1])} if own_tag else {}),
    }
    places, place = [], len(_directory(tags, order, big))
    for strip in stored:
        places.append(place)
        place += len(strip)
    path.parent.mkdir(parents=True, exist_ok=True)
    tags[273] = (tags[273][0], places)
    tags[279][1][-1] += spare
    path.write_bytes(_directory(tags, order, big) + b"".join(stored))
    return path


def _directory(tags: dict[int, tuple[int, list[int]]], order: str, big: bool) -> bytes:
    """All that stands before the pixels: the header, the tags, and the values that do not fit into theirs."""
    word, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    mark = b"II" if order == "<" else b"MM"
    begin = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    begin += struct.pack(order + count, len(tags))
    rest, place = b"", len(begin) + len(tags) * entry + struct.calcsize(order + word)
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{FORMATS[kind]}", *values)
        if len(packed) > struct.calcsize(order + word):
            packed, rest = struct.pack(order + word, place + len(rest)), rest + packed
        begin += struct.pack(order + "HH" + word, tag, kind, len(values)) + packed.ljust(
            struct.calcsize(order + word), b"\0"
        )
    return begin + bytes(struct.calcsize(order + word)) + rest
