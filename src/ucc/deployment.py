"""Whether a quantised file is fit to stand beside the exported one: mIoU of both on val, size, time per image.

Both are measured as `ucc.Segmenter` runs them unless told otherwise, an image beyond 1024 pixels in tiles. Of smaller
images the mIoU is that which `evaluate` gives for whole ones, up to rounding.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ucc.config import QuantizeParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image
from ucc.data.manifest import Manifest, Sample
from ucc.data.samples import load_sample
from ucc.errors import UserError
from ucc.files import atomic_folder
from ucc.metrics import ConfusionMatrix
from ucc.progress import Progress
from ucc.quantization import calibration_samples, note_miou, quantize
from ucc.segmenter import Segmenter

WHY_ABSENT = "why_absent.txt"
DISABLED = "export.quantize.enabled is false."
THREADS = 1
# Enough for a median that one interruption does not move, but no quarter of an hour for the largest models.
ROUNDS = (5, 30)
SECONDS = 20.0


@dataclass(frozen=True)
class Measured:
    """One file: mIoU on val in percent, size in 10⁶ bytes, median milliseconds for one image on one thread."""

    miou: float
    megabytes: float
    milliseconds: float


@dataclass(frozen=True)
class Deployment:
    """The exported file, its quantised twin unless that is disabled, and why the twin was not kept, if so.

    `size` is height and width of the image that the time was taken with.
    """

    exported: Measured
    int8: Measured | None
    why_absent: str | None
    size: tuple[int, int]

    def metrics(self) -> dict[str, Any]:
        """For metrics/export.json: what comes out the same whenever it is measured."""
        int8: dict[str, Any] = {"kept": self.why_absent is None}
        if self.int8:
            int8["miou"] = round(self.int8.miou, 4)
            int8["miou_drop"] = round(self.exported.miou - self.int8.miou, 4)
            int8["megabytes"] = round(self.int8.megabytes, 2)
        return {"miou": round(self.exported.miou, 4), "int8": int8}

    def latency(self) -> dict[str, Any]:
        """For metrics/latency.json: milliseconds of each file."""
        files = {"float_ms": self.exported, "int8_ms": self.int8}
        times = {name: round(file.milliseconds, 2) for name, file in files.items() if file}
        return {**times, "threads": THREADS, "height": self.size[0], "width": self.size[1]}

    def table(self) -> str:
        """One row a file, for a terminal."""
        height, width = self.size
        lines = [f"        mIoU (%)       MB    ms ({height}x{width}, {THREADS} thread)"]
        for name, file in (("float", self.exported), ("int8", self.int8)):
            if file:
                lines.append(f"{name:5}  {file.miou:9.2f}  {file.megabytes:7.2f}  {file.milliseconds:6.1f}")
        return "\n".join(lines)


def deploy(
    path: Path, folder: Path, dataset: Path, manifest: Manifest, image: Image, params: QuantizeParams
) -> Deployment:
    """Quantise the exported file `path`, measure both, and leave the quantised one in `folder` if it is good enough.

    `folder` is replaced: it holds either a file named as `path` is, or why_absent.txt, one sentence.

    Args:
        path: what `ucc.export` wrote.
        dataset: folder that the manifest's paths are relative to.
        manifest: labelled and unlabelled images are calibrated on, `val` is measured on.
        image: RGB uint8 (H, W, 3), to take the time with.

    Raises:
        UserError: if an image cannot be read, or there is none to measure on.
    """
    with atomic_folder(folder) as temporary:
        files = [path]
        if params.enabled:
            files.append(temporary / path.name)
            quantize(path, files[1], dataset, calibration_samples(manifest, params.calibration_images))
        mious = measure_miou(files, dataset, manifest.subset("val"), DatasetInfo.read(dataset))
        if params.enabled:
            note_miou(files[1], mious[1])
        sizes = [file.stat().st_size / 1e6 for file in files]
        exported, *rest = map(Measured, mious, sizes, measure_latency(files, image))
        int8 = rest[0] if rest else None
        why_absent = why_refused(exported.miou, int8.miou, params.max_miou_drop) if int8 else DISABLED
        if why_absent:
            (temporary / path.name).unlink(missing_ok=True)
            (temporary / WHY_ABSENT).write_text(f"{why_absent}\n", encoding="utf-8")
    return Deployment(exported, int8, why_absent, (image.shape[0], image.shape[1]))


def why_refused(miou: float, int8: float, bound: float) -> str | None:
    """A sentence if int8 loses more than `bound` points of mIoU, both in percent; else None."""
    drop = miou - int8
    if drop <= bound:
        return None
    return (
        f"Quantised, the model loses {drop:.2f} points of mIoU on val ({miou:.2f} to {int8:.2f}), "
        f"more than export.quantize.max_miou_drop = {bound:g}."
    )


def measure_miou(files: Sequence[Path], dataset: Path, samples: Sequence[Sample], info: DatasetInfo) -> list[float]:
    """Mean IoU in percent of each file over all samples, each of which is read once.

    Raises:
        UserError: if there are no samples, or one cannot be read.
    """
    if not samples:
        raise UserError(f"{dataset}: there is no image to measure on; the data set needs a val split.")
    segmenters = [Segmenter(file) for file in files]
    matrices = [ConfusionMatrix(info.num_classes, info.ignore_index) for _ in files]
    progress = Progress("measure mIoU", len(samples))
    for sample in samples:
        image, mask = load_sample(dataset, sample)
        for segmenter, matrix in zip(segmenters, matrices, strict=True):
            matrix.update(torch.from_numpy(segmenter.segment(image).classes), torch.from_numpy(mask))
        progress.advance()
    return [100 * matrix.mean_iou() for matrix in matrices]


def measure_latency(files: Sequence[Path], image: Image, rounds: tuple[int, int] = ROUNDS) -> list[float]:
    """Median milliseconds of each file for one RGB image, uint8 (H, W, 3), on one thread.

    The files take turns, so that whatever else the machine does disturbs all alike. `rounds` are the fewest and the
    most turns; between them, 20 seconds are enough.
    """
    segmenters = [Segmenter(file, threads=THREADS) for file in files]
    for segmenter in segmenters:
        segmenter.segment(image)  # the first call allocates
    times: list[list[float]] = []
    begin = time.perf_counter()
    while len(times) < rounds[0] or (len(times) < rounds[1] and time.perf_counter() - begin < SECONDS):
        times.append([_milliseconds(segmenter, image) for segmenter in segmenters])
    return [statistics.median(column) for column in zip(*times, strict=True)]


def _milliseconds(segmenter: Segmenter, image: Image) -> float:
    begin = time.perf_counter()
    segmenter.segment(image)
    return 1000 * (time.perf_counter() - begin)
