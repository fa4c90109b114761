"""What a segmentation looks like: index map with palette, overlay, heat map of the uncertainty, as PNG.

PNGs are compressed strip by strip, so that a picture of a large image never exists as a whole.
"""

import struct
import zlib
from collections.abc import Sequence
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


class PngWriter:
    """Writes a PNG (W3C specification, third edition, section 11) to `stream`, rows from top to bottom.

    Args:
        stream: where to.
        size: H and W.
        colors: the palette, at most 256 RGB colours, for rows of indices.
    """

    def __init__(self, stream: BinaryIO, size: tuple[int, int], colors: Colors | None = None) -> None:
        self._stream, self._size, self._colors = stream, size, colors
        self._compressor = zlib.compressobj(COMPRESSION)
        self._begun = False

    def write(self, pixels: Pixels) -> None:
        """Write the next rows, uint8: RGB (h, W, 3), or grey or indices (h, W)."""
        if not self._begun:
            self._begin(pixels)
        step = max(1, STRIP_PIXELS // self._size[1])
        for top in range(0, len(pixels), step):
            rows = _filtered(pixels[top : top + step])
            _write_chunk(self._stream, b"IDAT", self._compressor.compress(rows.tobytes()))

    def finish(self) -> None:
        """Write the end, once all rows are written."""
        _write_chunk(self._stream, b"IDAT", self._compressor.flush())
        _write_chunk(self._stream, b"IEND", b"")

    def _begin(self, pixels: Pixels) -> None:
        height, width = self._size
        kind = 3 if self._colors is not None else 2 if pixels.ndim == 3 else 0
        self._stream.write(b"\x89PNG\r\n\x1a\n")
        _write_chunk(self._stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
        if self._colors is not None:
            _write_chunk(self._stream, b"PLTE", bytes(value for color in self._colors for value in color))
        self._begun = True


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
    writer = PngWriter(stream, (pixels.shape[0], pixels.shape[1]), colors)
    writer.write(pixels)
    writer.finish()
    return stream.getvalue()
