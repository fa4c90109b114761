"""Reading and writing pictures and masks."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.errors import UserError
from ucc.files import atomic_path
from ucc.images import read_header
from ucc.pixel_limit import MAX_PIXELS

Image = NDArray[np.uint8]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_image(path: Path) -> Image:
    """Read a photograph as RGB uint8 of shape (H, W, 3), turned as its EXIF orientation says.

    Raises:
        UserError: if the file is missing, no image, cut off, damaged or larger than `MAX_PIXELS`.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[..., ::-1])


def read_mask(path: Path) -> Image:
    """Read an index mask as uint8 of shape (H, W), values unchanged.

    Raises:
        UserError: as `read_image` does, and if it is not a single channel of 8 bits.
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


def count_pixels(mask: Image) -> NDArray[np.int64]:
    """Number of pixels of each of the 256 values of a uint8 mask, shape (256,)."""
    return np.bincount(mask.ravel(), minlength=256)


def png_bit_depth(path: Path) -> int:
    """Bits per channel as the PNG's header says; 8 for other formats."""
    with path.open("rb") as stream:
        header = stream.read(25)
    return header[24] if header[:8] == PNG_SIGNATURE and len(header) == 25 else 8


def refuse_damaged_png(path: Path) -> None:
    """Check the checksums of a PNG that Pillow is to read, since it does not where they belong to pixels.

    Raises:
        OSError: without a number, as Pillow raises it for damage that it sees.
    """
    header = read_header(path.read_bytes())
    if header is None or not header.whole:
        raise OSError("cut off, or a checksum that does not fit")


def _decode(path: Path, flags: int) -> Image:
    try:
        encoded = path.read_bytes()
    except OSError as error:
        reason = "a link to a file that does not exist" if _is_dangling(path) else error.strerror
        raise UserError(f"{path}: cannot be read ({reason}).") from error
    _check_extent(path, encoded)
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    except cv2.error:  # on some damage it raises, on most it returns None
        pixels = None
    if pixels is None:
        what = "not an image that can be decoded" if encoded else "not an image, the file is empty"
        raise UserError(f"{path}: {what}; replace or remove it.")
    return np.asarray(pixels)


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _check_extent(path: Path, encoded: bytes) -> None:
    """Refuse, before decoding, a picture that declares too many pixels or is not whole.

    Decoders fill what a JPEG lacks with grey and make something of a PNG's damaged pixels; not all of them say so.

    Raises:
        UserError: naming the fault.
    """
    try:
        header = read_header(encoded)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if header is None:
        return
    if header.height * header.width > MAX_PIXELS:
        raise UserError(
            f"{path}: declares {header.height}x{header.width} pixels, more than {MAX_PIXELS:,}; "
            "shrink, replace or remove it."
        )
    if not header.whole:
        raise UserError(
            f"{path}: not an image that can be decoded, because it is cut off or damaged; replace or remove it."
        )
