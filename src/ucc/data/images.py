"""Reading and writing pictures and masks."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.errors import UserError
from ucc.files import atomic_path

Image = NDArray[np.uint8]


def read_image(path: Path) -> Image:
    """Read a photograph as RGB uint8 of shape (H, W, 3), turned as its EXIF orientation says.

    Raises:
        UserError: if the file is missing or no image.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[..., ::-1])


def read_mask(path: Path) -> Image:
    """Read an index mask as uint8 of shape (H, W), values unchanged.

    Raises:
        UserError: if the file is missing, no image, or not a single channel of 8 bits.
    """
    mask = _decode(path, cv2.IMREAD_UNCHANGED)
    depth = png_bit_depth(path)
    if depth < 8:
        # OpenCV stretches 1, 2 and 4 bits to the range of 8, which turns a 1 into a 255.
        raise UserError(
            f"{path}: a mask must have 8 bits a pixel, found {depth}. Save it as a PNG of 8-bit grey values."
        )
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise UserError(
            f"{path}: a mask must be a PNG with one 8-bit channel of class indices, "
            f"found {1 if mask.ndim == 2 else mask.shape[2]} channel(s) of {mask.dtype}."
        )
    return mask


def write_png(path: Path, pixels: Image) -> None:
    """Write RGB (H, W, 3) or index (H, W) uint8 pixels as PNG, atomically."""
    ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    with atomic_path(path) as temporary:
        done, encoded = cv2.imencode(".png", ordered)
        if not done:
            raise ValueError(f"{path}: cannot encode an array of shape {pixels.shape} and type {pixels.dtype}")
        temporary.write_bytes(encoded.tobytes())


def png_bit_depth(path: Path) -> int:
    """Bits per channel as the PNG's header says; 8 for other formats."""
    with path.open("rb") as stream:
        header = stream.read(25)
    return header[24] if header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) == 25 else 8


def _decode(path: Path, flags: int) -> Image:
    try:
        encoded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    pixels = cv2.imdecode(encoded, flags) if encoded.size else None
    if pixels is None:
        raise UserError(f"{path}: not an image that can be decoded; replace or remove it.")
    return np.asarray(pixels)
