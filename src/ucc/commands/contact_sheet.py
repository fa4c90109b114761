"""The contact sheet of `ucc rank`: chosen images in their order, each as picture, classes and uncertainty."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ucc.files import atomic_path
from ucc.pictures import Colors, Pixels, draw_overlay, draw_uncertainty
from ucc.ranking import Opinion

COLUMNS = 2
BOX = (180, 240)  # height and width that each of the three tiles of an entry fits into, in pixels
GAP = 8
MARGIN = 20
LINE = 26
FONT = cv2.FONT_HERSHEY_DUPLEX
FONT_SCALE = 0.5
INK = (40, 40, 40)
PAPER = 255
QUALITY = 90


class Entry(NamedTuple):
    """An image on the sheet: its tiles, RGB uint8 of one size, and what is written above them."""

    tiles: list[Pixels]
    title: str
    facts: str


def make_entry(image: Pixels, opinion: Opinion, colors: Colors, title: str, facts: str) -> Entry:
    """Shrink or enlarge an image (H, W, 3) and what the model says of it to the sheet's size.

    Too long a `title` loses its beginning; `facts` stand at the right.
    """
    height, width = image.shape[:2]
    factor = min(BOX[0] / height, BOX[1] / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8)
    classes = np.asarray(cv2.resize(opinion.classes, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    uncertainty = np.asarray(cv2.resize(opinion.uncertainty, size, interpolation=smooth), np.float32)
    tiles = [picture, draw_overlay(picture, classes, colors), draw_uncertainty(uncertainty, len(colors))]
    return Entry(tiles, title, facts)


def draw_sheet(entries: Sequence[Entry]) -> Pixels:
    """All entries row by row, RGB uint8."""
    columns = max(1, min(COLUMNS, len(entries)))
    rows = -(-len(entries) // columns)
    width, height = 3 * BOX[1] + 2 * GAP, LINE + BOX[0]
    shape = (MARGIN + rows * (height + MARGIN), MARGIN + columns * (width + MARGIN), 3)
    sheet = np.full(shape, PAPER, np.uint8)
    for index, entry in enumerate(entries):
        top = MARGIN + index // columns * (height + MARGIN)
        left = MARGIN + index % columns * (width + MARGIN)
        right = left + width - _text_width(entry.facts)
        _write(sheet, entry.facts, right, top)
        _write(sheet, _fitting(entry.title, right - left - MARGIN), left, top)
        for place, tile in enumerate(entry.tiles):
            x = left + place * (BOX[1] + GAP)
            sheet[top + LINE : top + LINE + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def write_sheet(path: Path, entries: Sequence[Entry]) -> None:
    """Write the sheet as JPEG, atomically."""
    _, encoded = cv2.imencode(".jpg", draw_sheet(entries)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _fitting(text: str, width: int) -> str:
    """`text` in the characters that OpenCV can write, cut at its beginning until it fits."""
    text = text.encode("ascii", "replace").decode()
    shown = text
    for start in range(1, len(text)):
        if _text_width(shown) <= width:
            break
        shown = f"...{text[start:]}"
    return shown


def _write(sheet: Pixels, text: str, left: int, top: int) -> None:
    cv2.putText(sheet, text, (left, top + LINE - GAP), FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0])
