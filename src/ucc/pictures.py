"""What a segmentation looks like: index map with palette, overlay, heat map of the uncertainty, as PNG.

PNGs are compressed strip by strip, so that a picture of a large image never exists as a whole.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

OVERLAY_OPACITY = 0.5
STRIP_PIXELS = 2**20
# Fast, and next to the best for maps of few classes.
COMPRESSION = 1

Pixels = NDArray[np.uint8]
Colors = Sequence[tuple[int, int, int]]


def draw_overlay(image: Pixels, classes: Pixels, colors: Colors) -> Pixels:
    """`image` (H, W, 3) and its classes' colours, half and half."""
    painted = np.asarray(colors, np.uint8)[classes]
    return np.asarray(cv2.addWeighted(image, 1 - OVERLAY_OPACITY, painted, OVERLAY_OPACITY, 0), np.uint8)


def draw_uncertainty(uncertainty: NDArray[np.float32], num_classes: int) -> Pixels:
    """Heat map (H, W, 3), RGB: black is certain, bright is as uncertain as C classes can be, 1 - 1/C.

    The scale is the same for every image, so that pictures can be compared.
    """
    heat = cv2.applyColorMap(scale_uncertainty(uncertainty, num_classes), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(heat[..., ::-1], dtype=np.uint8)


def scale_uncertainty(uncertainty: NDArray[np.float32], num_classes: int) -> Pixels:
    """Uncertainty as bytes: 0 is certain, 255 as uncertain as C classes can be, 1 - 1/C."""
    share = np.clip(uncertainty / (1 - 1 / num_classes), 0, 1)
    return np.asarray(np.rint(share * 255), np.uint8)


def encode_indexed_png(classes: Pixels, colors: Colors) -> bytes:
    """PNG whose pixel values are the class indices (H, W) and whose palette holds `colors`."""
    return _encode(classes, colors)


def encode_png(pixels: Pixels) -> bytes:
    """RGB (H, W, 3) or grey (H, W) pixels as PNG."""
    return _encode(pixels)


def write_png(
    stream: BinaryIO, size: tuple[int, int], draw: Callable[[slice], Pixels], colors: Colors | None = None
) -> None:
    """Write a PNG (W3C specification, third edition, section 11) whose pixels `draw` gives by rows.

    Args:
        stream: where to.
        size: H and W.
        draw: maps a slice of rows to RGB (h, W, 3), grey or, with `colors`, indices (h, W), uint8.
        colors: the palette, at most 256 RGB colours.
    """
    height, width = size
    step = max(1, STRIP_PIXELS // width)
    compressor = zlib.compressobj(COMPRESSION)
    for top in range(0, height, step):
        pixels = draw(slice(top, min(top + step, height)))
        if top == 0:
            kind = 3 if colors is not None else 2 if pixels.ndim == 3 else 0
            stream.write(b"\x89PNG\r\n\x1a\n")
            _write_chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
            if colors is not None:
                _write_chunk(stream, b"PLTE", bytes(value for color in colors for value in color))
        _write_chunk(stream, b"IDAT", compressor.compress(_filtered(pixels).tobytes()))
    _write_chunk(stream, b"IDAT", compressor.flush())
    _write_chunk(stream, b"IEND", b"")


def _filtered(pixels: Pixels) -> Pixels:
    """Rows as bytes, each the difference to its left neighbour (filter 1, Sub), led by the filter's number."""
    rows = pixels.reshape(len(pixels), -1)
    distance = 3 if pixels.ndim == 3 else 1
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1 : distance + 1] = rows[:, :distance]
    np.subtract(rows[:, distance:], rows[:, :-distance], out=filtered[:, distance + 1 :])
    return filtered


def _write_chunk(stream: BinaryIO, kind: bytes, content: bytes) -> None:
    if content or kind == b"IEND":
        stream.write(struct.pack(">I", len(content)) + kind)
        stream.write(content)
        stream.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


def _encode(pixels: Pixels, colors: Colors | None = None) -> bytes:
    stream = BytesIO()
    write_png(stream, (pixels.shape[0], pixels.shape[1]), lambda rows: pixels[rows], colors)
    return stream.getvalue()
