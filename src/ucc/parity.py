"""How far the exported ONNX file differs from torch, measured on real images before anyone gets the file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ucc.config import ExportParams
from ucc.data.images import Image, read_image
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.inference import predict, uncertainty
from ucc.models import Segmenter
from ucc.models.modes import evaluation_mode
from ucc.segmenter import Segmenter as ExportedSegmenter
from ucc.tiling import ALIGNMENT, segment_tiles


@dataclass(frozen=True)
class ParityCase:
    """How far ONNX and torch differ on all batches of one shape, by the file's class map or by its logits.

    `disagreement` is the share of pixels whose class differs, `max_uncertainty_error` the largest absolute
    difference of the uncertainty.
    """

    batch: int
    height: int
    width: int
    disagreement: float
    max_uncertainty_error: float

    @property
    def name(self) -> str:
        """`<batch>x<height>x<width>`."""
        return f"{self.batch}x{self.height}x{self.width}"


def parity_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes to measure besides the images' own: one that no stride divides, and a small one, both odd."""
    return [(max(height - 4, 0) | 1, max(width - 4, 0) | 1), (height // 4 | 1, width // 4 | 1)]


def measure_parity(
    segmenter: Segmenter, path: Path, images: Sequence[Image], sizes: Sequence[tuple[int, int]]
) -> list[ParityCase]:
    """Compare the file at `path` with what head 1 of `segmenter` gives where it is evaluated (`ucc.inference`).

    Each of `images`, RGB uint8 (H, W, 3), is tried at its own size and resized to each of `sizes`
    (height, width); at each of these there is a batch of two as well. The file's logits count too: class map and
    uncertainty that one tile over the whole image gives are compared like the file's own.
    """
    exported = ExportedSegmenter(path, tile=0)
    differing: dict[tuple[int, int, int], list[float]] = {}
    errors: dict[tuple[int, int, int], list[float]] = {}
    for batch in _batches(images, sizes):
        with evaluation_mode(segmenter):
            probabilities = predict(segmenter, torch.from_numpy(batch).permute(0, 3, 1, 2))[0]
        classes, expected = probabilities.argmax(dim=1).numpy(), uncertainty(probabilities).numpy()
        shape = (batch.shape[0], batch.shape[1], batch.shape[2])
        for found_classes, found_uncertainty in (exported.segment_batch(batch), _segment_by_logits(exported, batch)):
            differing.setdefault(shape, []).append(float(np.mean(found_classes != classes)))
            errors.setdefault(shape, []).append(float(np.abs(found_uncertainty - expected).max()))
    # np.max, because the built-in max loses a NaN.
    return [ParityCase(*shape, float(np.mean(differing[shape])), float(np.max(errors[shape]))) for shape in errors]


def check_parity(cases: Sequence[ParityCase], params: ExportParams) -> None:
    """Hold every case against the bounds.

    Raises:
        UserError: naming the worst case and the bound it breaks.
    """
    for key, bound in (
        ("disagreement", params.max_disagreement),
        ("max_uncertainty_error", params.max_uncertainty_error),
    ):
        values = [float(getattr(case, key)) for case in cases]
        worst = int(np.argmax(values))  # a NaN counts as the largest
        if not values[worst] <= bound:
            raise UserError(
                f"the exported model differs from torch: {key.replace('_', ' ')} {values[worst]:.3g} "
                f"at {cases[worst].name}, but export.max_{key.removeprefix('max_')} = {bound:g}. "
                "No file was written. Try another export.opset, or raise the bound if that is acceptable."
            )


def parity_report(cases: Sequence[ParityCase], path: Path, opset: int) -> dict[str, Any]:
    """What metrics/export.json holds: the worst figures over all cases, and the file's size."""
    return {
        "disagreement": max(case.disagreement for case in cases),
        "max_uncertainty_error": max(case.max_uncertainty_error for case in cases),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "opset": opset,
        "cases": len(cases),
    }


def parity_images(dataset: Path, manifest: Manifest, count: int) -> list[Image]:
    """Up to `count` validation images, spread evenly, because neighbours, as in a video, are alike.

    Raises:
        UserError: if there is no validation image, or one cannot be read.
    """
    samples = manifest.subset("val")
    if not samples:
        raise UserError("the manifest lists no image of the subset val, and export compares ONNX with torch on some.")
    count = min(count, len(samples))
    return [read_image(dataset / samples[index * len(samples) // count].image) for index in range(count)]


def _segment_by_logits(exported: ExportedSegmenter, batch: Image) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    side = max(batch.shape[1:3]) + ALIGNMENT  # one tile, however small the image
    parts = [segment_tiles(image, exported.logits, side, overlap=ALIGNMENT) for image in batch]
    return np.stack([classes for classes, _ in parts]), np.stack([unsure for _, unsure in parts])


def _batches(images: Sequence[Image], sizes: Sequence[tuple[int, int]]) -> Iterator[Image]:
    for image in images:
        yield image[np.newaxis]
    for height, width in sizes:
        resized = [
            np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for image in images
        ]
        for image in resized:
            yield image[np.newaxis]
        # The last image mirrored, so that the two differ even where there is but one image.
        yield np.stack([resized[0], resized[-1][:, ::-1]])
