"""Reading foreign picture files with Pillow: what OpenCV hides, or passes over in silence.

OpenCV returns a truncated JPEG partly grey, turns palette indices into colours and stretches few bits to eight.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageOps

from ucc import tiff
from ucc.data.images import Image, png_bit_depth, refuse_damaged_png
from ucc.errors import UserError
from ucc.images import read_header, read_image
from ucc.pixel_limit import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
MASK_FORMATS = (*FORMATS, "GIF")
ORIENTATION = 0x0112  # EXIF tag: 1 is upright, 5 to 8 swap the sides
COLOR_MODES = ("RGB", "RGBA", "RGBX")
ALPHA_MODES = ("RGBA", "RGBX", "LA", "La", "PA")
DEEP_GREY_MODES = ("I;16", "I;16B", "I;16L")
NUMBER_MODES = ("I", "F")  # signed, of 32 bits or floating-point
NEARLY_BLACK = 32  # of 255; 12 bits, taken for 16, reach 16

# Pillow warns at half the limit; whoever has pictures of that size knows.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
# OpenCV tells of each tag that it does not know; of damage Pillow tells, which reads every file before.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class Header:
    """What a file says of its picture.

    Attributes:
        size: height and width in pixels, upright.
        bits: per channel.
        channels: of a TIFF, some of which may not be the picture's.
        orientation: EXIF's, 1 to 8.
        pages: pictures in the file, of which the first counts.
    """

    format: str
    mode: str
    bits: int
    channels: int
    size: tuple[int, int]
    orientation: int
    pages: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width before the EXIF rotation."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def look(path: Path, formats: tuple[str, ...] = FORMATS) -> Header:
    """Read no more than the header.

    Raises:
        UserError: if the file cannot be read, is of another format, or declares too many pixels.
    """
    with _told(path), _opened(path, formats) as picture:
        header = _header(path, picture)
    if header.format == "TIFF" and (why := _refusal(path)):
        raise UserError(f"{path}: {why}")
    return header


def load(path: Path) -> tuple[PIL.Image.Image, Header]:
    """Decode the whole picture, a photograph or a mask, and turn it upright.

    Raises:
        UserError: if the file cannot be read, is no picture, declares too many pixels, is damaged or ends too early.
    """
    with _told(path), _opened(path, MASK_FORMATS) as picture:
        header = _header(path, picture)
        if header.format == "PNG":
            refuse_damaged_png(path)
        picture.load()
        return ImageOps.exif_transpose(picture), header


def conversions(header: Header) -> tuple[str, ...]:
    """What keeps a photograph from being an upright 8-bit RGB JPEG or PNG, and what is done about it, in words."""
    checks = {
        "grey: converted to RGB": header.mode in ("1", "L", "LA", "La", *DEEP_GREY_MODES),
        "coloured by a palette: converted to RGB": header.mode in ("P", "PA"),
        "RGBA or grey with alpha: the alpha channel is dropped": header.mode in ALPHA_MODES,
        "CMYK or YCbCr: converted to RGB": header.mode in ("CMYK", "YCbCr"),
        "of more channels than colours: the others are dropped": header.channels > _bands(header.mode),
        "16-bit: divided by 257 to 8 bits": header.bits == 16,
        "BMP, TIFF or WebP: written as PNG": header.format not in ("JPEG", "PNG"),
        "rotated or mirrored by an EXIF tag: turned upright": header.orientation != 1,
        "several pages or frames: the first is taken": header.pages > 1,
    }
    return tuple(words for words, holds in checks.items() if holds)


def photograph(path: Path, picture: PIL.Image.Image, header: Header) -> Image:
    """Whatever `load` returned as RGB uint8 of shape (H, W, 3).

    Raises:
        UserError: if it is a GIF, its bits are neither 8 (or fewer) nor 16, or it cannot be decoded.
    """
    if header.format == "TIFF":
        # As the exported segmenter reads it. Pillow divides colours by alpha, and 16 bits it leaves inverted where
        # white is zero; OpenCV with the flags below returns memory that nobody wrote where they lie plane by plane.
        return read_image(path)
    if header.format not in FORMATS:
        raise UserError(f"{path}: a {header.format}, which only masks may be; save it as PNG or JPEG")
    if (header.bits > 8 and header.bits != 16) or header.mode in NUMBER_MODES:
        raise UserError(f"{path}: neither 8 nor 16 bits a channel")
    if header.bits <= 8:
        return np.array(picture.convert("RGB"), np.uint8)
    # Pillow cuts colours of 16 bits to 8; OpenCV keeps them, and with these flags drops alpha and turns the picture.
    deep = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if deep is None or deep.dtype != np.uint16 or deep.shape[:2] != header.size:
        raise UserError(f"{path}: 16 bits a channel in a form that cannot be decoded")
    return ((deep[..., ::-1].astype(np.uint32) + 128) // 257).astype(np.uint8)


def is_nearly_black(pixels: Image) -> bool:
    """Whether 99 in 100 values of a photograph are below `NEARLY_BLACK`."""
    return bool(100 * np.count_nonzero(pixels >= NEARLY_BLACK) < pixels.size)


def mask_values(path: Path, picture: PIL.Image.Image, header: Header) -> NDArray[np.uint16]:
    """The values of a grey mask or the indices of a palette one, shape (H, W), as they are stored.

    Raises:
        UserError: if the picture is neither, or has values that are no whole numbers of 0 to 65535.
    """
    if header.mode in NUMBER_MODES:
        return _whole_numbers(path, np.array(picture))
    if header.mode in DEEP_GREY_MODES and header.bits == 16:
        return np.array(picture, np.uint16)
    if header.mode not in ("1", "L", "P", "LA") or header.bits > 8:
        raise UserError(f"{path}: masks are grey, palette or RGB pictures, of 8 bits a colour")
    values = np.array(picture.getchannel("L") if header.mode == "LA" else picture, np.uint16)
    if header.mode == "L" and header.bits < 8:
        values //= 255 // (2**header.bits - 1)  # Pillow stretches 2 and 4 bits of grey to the range of 8
    return values


def mask_colors(path: Path, picture: PIL.Image.Image, header: Header) -> Image:
    """The colours of a mask, RGB uint8 of shape (H, W, 3); a grey value v is the colour (v, v, v).

    Raises:
        UserError: if it has other than 8 bits a channel or is not made of colours.
    """
    if header.bits > 8 or header.mode not in ("1", "L", "P", "LA", *COLOR_MODES):
        raise UserError(f"{path}: masks are grey, palette or RGB pictures, of 8 bits a colour")
    return np.array(picture.convert("RGB"), np.uint8)


def grey_values(colors: Image) -> NDArray[np.uint16] | None:
    """What colours (H, W, 3) hold if red, green and blue are equal everywhere, shape (H, W); None if they are not."""
    red, green, blue = (colors[..., channel] for channel in range(3))
    return red.astype(np.uint16) if np.array_equal(red, green) and np.array_equal(red, blue) else None


def palette(picture: PIL.Image.Image) -> list[tuple[int, int, int]]:
    """The colours of a palette picture by index; none for other pictures."""
    flat = picture.getpalette("RGB") if picture.mode == "P" else None
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3)] if flat else []


def reason(error: Exception, path: Path) -> str:
    """What a `UserError` says about `path`, without the path and the full stop."""
    return str(error).removeprefix(f"{path}: ").removesuffix(".")


def _whole_numbers(path: Path, numbers: NDArray[Any]) -> NDArray[np.uint16]:
    # Written so that it does not hold for what is not a number.
    if not ((numbers >= 0) & (numbers <= 65535) & (numbers == np.floor(numbers))).all():
        raise UserError(f"{path}: mask values that are not whole numbers of 0 to 65535; save the mask as 8-bit grey")
    return numbers.astype(np.uint16)


@contextmanager
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[PIL.Image.Image]:
    # From a stream: by its path Pillow maps an uncompressed TIFF into memory, but by the size that it has turned.
    with path.open("rb") as stream, PIL.Image.open(stream, formats=formats) as picture:
        # Where EXIF says nothing Pillow asks XMP, unlike what reads images for the exported segmenter.
        for xmp in ("xmp", "XML:com.adobe.xmp"):
            picture.info.pop(xmp, None)
        if picture.width * picture.height > MAX_PIXELS:
            raise PIL.Image.DecompressionBombError
        yield picture


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except PIL.Image.DecompressionBombError as error:
        raise UserError(f"{path}: declares more than {MAX_PIXELS / 1e6:.0f} megapixels; shrink or remove") from error
    except PIL.UnidentifiedImageError as error:
        raise UserError(f"{path}: {_unidentified(path)}") from error
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes make them stumble over
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{path}: cannot be read ({error.strerror}); mend or remove") from error
        raise UserError(f"{path}: {_refusal(path) or 'damaged or incomplete; replace or remove'}") from error


def _unidentified(path: Path) -> str:
    with path.open("rb") as stream:
        begin = stream.read(4)
    if begin in tiff.SIGNATURES:
        return _refusal(path) or (
            "a TIFF that is damaged, or of channels and bits that are not read; save it as 8-bit RGB or grey"
        )
    if begin:
        return "not a JPEG, PNG, BMP, TIFF or WebP picture, whatever its name says; convert or remove"
    return "empty file; replace or remove"


def _refusal(path: Path) -> str | None:
    """What the exported segmenter, too, would refuse in the file's header, if anything."""
    try:
        read_header(path.read_bytes())
    except UserError as error:
        return reason(error, path)
    return None


def _header(path: Path, picture: PIL.Image.Image) -> Header:
    orientation = _orientation(picture)
    height, width = picture.height, picture.width
    # Pillow gives the upright size of a TIFF, the stored one of all others.
    swapped = orientation >= 5 and picture.format != "TIFF"
    return Header(
        # A JPEG with further pictures behind the first, as phones write them for depth and previews.
        format="JPEG" if picture.format == "MPO" else str(picture.format),
        mode=picture.mode,
        bits=_bits(path, picture),
        channels=_tag(picture, tiff.SAMPLES, _bands(picture.mode)),
        size=(width, height) if swapped else (height, width),
        orientation=orientation,
        pages=1 if picture.format == "MPO" else getattr(picture, "n_frames", 1),
    )


def _bits(path: Path, picture: PIL.Image.Image) -> int:
    return png_bit_depth(path) if picture.format == "PNG" else _tag(picture, tiff.BITS, 8)


def _tag(picture: PIL.Image.Image, tag: int, otherwise: int) -> int:
    """The first number of a TIFF's tag, or `otherwise` if there is no such."""
    tags: Any = getattr(picture, "tag_v2", {})
    value = tags.get(tag, otherwise)
    return int(value[0] if isinstance(value, tuple) else value)


def _bands(mode: str) -> int:
    return PIL.Image.getmodebands(mode)


def _orientation(picture: PIL.Image.Image) -> int:
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # a camera's broken EXIF does not make the picture worse
        return 1
    return value if value in range(1, 9) else 1
