"""Small pictures inside the page: a sheet of samples, and near duplicates side by side."""

import base64
from collections.abc import Collection, Iterable, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image, read_image, read_mask
from ucc.data.manifest import Manifest, Sample
from ucc.data.palette import Color, paint
from ucc.data.samples import evenly_spaced
from ucc.data.validation.duplicates import NearTwin

# How many samples of a subset are shown, and how many pairs that look the same.
SHOWN = {"labeled": 12, "unlabeled": 8, "val": 8, "test": 4}
SHOWN_PAIRS = 12
BOX = (150, 200)  # height and width in pixels that a thumbnail fits into
OVERLAY = 0.5
QUALITY = 80


def contact_sheet(
    dataset: Path, manifest: Manifest, unusable: Collection[str], subset: str, colors: Sequence[Color]
) -> str:
    """Samples of a subset, evenly spaced over the ids, as figures; masks lie over their images in class colours.

    Args:
        unusable: ids of samples whose files cannot be shown.
    """
    usable = [sample for sample in manifest.subset(subset) if sample.id not in unusable]
    return _figures(
        figure(thumbnail(_overlaid(dataset, sample, colors)), sample.image)
        for sample in evenly_spaced(usable, SHOWN[subset])
    )


def pair_figures(dataset: Path, pairs: Sequence[NearTwin]) -> str:
    """The first `SHOWN_PAIRS` pairs, each side by side."""
    return _figures(
        '<div class="pair">'
        f"{figure(thumbnail(read_image(dataset / pair.image)), pair.image)}"
        f"{figure(thumbnail(read_image(dataset / pair.twin)), f'{pair.twin} ({pair.bits} bits)')}</div>"
        for pair in pairs[:SHOWN_PAIRS]
    )


def thumbnail(image: Image) -> str:
    """An RGB uint8 image (H, W, 3), shrunk into `BOX`, as the address of a JPEG that the address itself holds."""
    factor = min(1.0, *(room / side for room, side in zip(BOX, image.shape[:2], strict=True)))
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if factor < 1 else image
    done, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done, "OpenCV encodes every RGB image"
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def figure(address: str, caption: str) -> str:
    """An image with its caption, as HTML."""
    text = escape(caption)
    return f'<figure><img src="{address}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _figures(items: Iterable[str]) -> str:
    return f'<div class="sheet">{"".join(items)}</div>'


def _overlaid(dataset: Path, sample: Sample, colors: Sequence[Color]) -> Image:
    image = read_image(dataset / sample.image)
    if not sample.mask:
        return image
    mask = read_mask(dataset / sample.mask)
    mixed = (1 - OVERLAY) * image + OVERLAY * paint(mask, colors)
    return np.where((mask == IGNORE_INDEX)[..., None], image, mixed.round().astype(np.uint8))
