"""Pictures for people: image, truth, prediction and uncertainty of some images that were measured on, side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ucc.config import EvaluateParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.manifest import Sample
from ucc.data.palette import Color, paint
from ucc.data.samples import evenly_spaced, load_sample
from ucc.files import atomic_folder
from ucc.inference import predict_image, uncertainty
from ucc.metrics import ConfusionMatrix
from ucc.models.modes import evaluation_mode

TILE_WIDTHS = (400, 800)  # pixels; smaller images are enlarged by a whole factor, larger ones reduced
MARGIN = 24
LINE = 40
SWATCH = 22
FONT = cv2.FONT_HERSHEY_DUPLEX
FONT_SCALE = 0.75
INK: Color = (40, 40, 40)
PAPER: Color = (255, 255, 255)
FRAME: Color = (150, 150, 150)
IGNORE_COLOR: Color = (255, 255, 255)
TITLES = ("image", "truth", "prediction", "uncertainty")


@dataclass(frozen=True)
class Prediction:
    """What head 1 says of one image: class indices, uint8 (H, W); uncertainty in [0, 1], float32 (H, W)."""

    classes: Image
    uncertainty: NDArray[np.float32]


def write_panels(
    segmenter: nn.Module,
    samples: Sequence[Sample],
    dataset: Path,
    info: DatasetInfo,
    params: EvaluateParams,
    device: torch.device,
    folder: Path,
) -> None:
    """Draw `params.panels` of the samples, evenly spaced, as `<stem>.png` in `folder`, which is replaced.

    The choice depends on the list alone, so that two models are shown on the same images.

    Args:
        segmenter: on `device`; maps images to one tensor of logits (B, C, H, W) per head.
        samples: each with a mask.
        dataset: folder that the samples' paths are relative to.
    """
    with atomic_folder(folder) as temporary, evaluation_mode(segmenter):
        for sample in evenly_spaced(samples, params.panels):
            image, truth = load_sample(dataset, sample)
            probabilities = predict_image(segmenter, image, params, device)[0]
            prediction = Prediction(
                classes=probabilities.argmax(dim=1)[0].to(torch.uint8).cpu().numpy(),
                uncertainty=uncertainty(probabilities)[0].cpu().numpy(),
            )
            stem = Path(sample.id).name
            write_png(temporary / f"{stem}.png", draw_panel(image, truth, prediction, info, stem))


def draw_panel(image: Image, truth: Image, prediction: Prediction, info: DatasetInfo, name: str) -> Image:
    """One picture of an image and its prediction.

    Args:
        image: RGB uint8 (H, W, 3).
        truth: class indices, uint8 (H, W).
        name: goes into the heading, beside the mean IoU over the classes that occur in this image.

    Returns:
        RGB uint8: the heading, four titled tiles, a legend of the classes present with their IoU in percent,
        and the scale of the uncertainty.
    """
    scores = ConfusionMatrix(info.num_classes, info.ignore_index)
    scores.update(torch.from_numpy(prediction.classes), torch.from_numpy(truth))
    tiles = [
        _fit(image, smooth=True),
        _fit(paint(truth, info.colors, IGNORE_COLOR), smooth=False),
        _fit(paint(prediction.classes, info.colors, IGNORE_COLOR), smooth=False),
        _fit(_heat(prediction.uncertainty), smooth=False),
    ]
    height, width = tiles[0].shape[:2]
    legend = _legend(truth, prediction.classes, scores.per_class_iou().tolist(), info)
    places, legend_height = _flow([text for text, _ in legend], 3 * width + 2 * MARGIN)
    top = MARGIN + 2 * LINE
    bottom = top + height + LINE // 2
    canvas = np.full((bottom + legend_height + MARGIN, 4 * width + 5 * MARGIN, 3), PAPER, np.uint8)

    miou = scores.mean_iou()
    heading = name if math.isnan(miou) else f"{name}    mIoU {100 * miou:.1f} %"
    _write(canvas, heading, MARGIN, MARGIN + LINE // 2, FONT_SCALE * 1.15)
    for index, (title, tile) in enumerate(zip(TITLES, tiles, strict=True)):
        left = MARGIN + index * (width + MARGIN)
        _write(canvas, title, left, top - LINE // 2)
        _place(canvas, tile, left, top)
    for (text, color), (x, y) in zip(legend, places, strict=True):
        _place(
            canvas,
            np.full((SWATCH, SWATCH, 3), color, np.uint8),
            MARGIN + x,
            bottom + y + (LINE - SWATCH) // 2,
        )
        _write(canvas, text, MARGIN + x + SWATCH + 10, bottom + y + LINE // 2)
    _draw_scale(canvas, left=4 * MARGIN + 3 * width, top=bottom, width=width)
    return canvas


def _legend(truth: Image, classes: Image, iou: list[float], info: DatasetInfo) -> list[tuple[str, Color]]:
    present = np.union1d(truth, classes)
    entries = [
        (name if math.isnan(score) else f"{name} {100 * score:.0f} %", color)
        for index, (name, color, score) in enumerate(zip(info.classes, info.colors, iou, strict=True))
        if index in present
    ]
    return [*entries, ("ignored", IGNORE_COLOR)] if info.ignore_index in present else entries


def _flow(texts: Sequence[str], width: int) -> tuple[list[tuple[int, int]], int]:
    """Places (x, y) of legend entries that fill rows of `width` pixels, and the height of all rows."""
    places, x, y = [], 0, 0
    for text in texts:
        taken = SWATCH + 10 + _text_width(text) + MARGIN
        if x and x + taken > width:
            x, y = 0, y + LINE
        places.append((x, y))
        x += taken
    return places, y + LINE


def _fit(pixels: Image, smooth: bool) -> Image:
    height, width = pixels.shape[:2]
    smallest, largest = TILE_WIDTHS
    factor = math.ceil(smallest / width) if width < smallest else min(1.0, largest / width)
    reduced = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    size = (round(width * factor), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=reduced if smooth else cv2.INTER_NEAREST), np.uint8)


def _heat(values: NDArray[np.float32]) -> Image:
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def _draw_scale(canvas: Image, left: int, top: int, width: int) -> None:
    zero, one = _text_width("0"), _text_width("1")
    length = width - zero - one - 20
    ramp = np.tile(np.linspace(0, 1, length, dtype=np.float32), (SWATCH, 1))
    _write(canvas, "0", left, top + LINE // 2)
    _place(canvas, _heat(ramp), left + zero + 10, top + (LINE - SWATCH) // 2)
    _write(canvas, "1", left + width - one, top + LINE // 2)


def _place(canvas: Image, pixels: Image, left: int, top: int) -> None:
    height, width = pixels.shape[:2]
    canvas[top : top + height, left : left + width] = pixels
    cv2.rectangle(canvas, (left - 1, top - 1), (left + width, top + height), FRAME)


def _write(canvas: Image, text: str, left: int, middle: int, scale: float = FONT_SCALE) -> None:
    """Write one line whose capitals are centred on row `middle`."""
    height = cv2.getTextSize("X", FONT, scale, 1)[0][1]
    cv2.putText(canvas, text, (left, middle + height // 2), FONT, scale, INK, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0])
