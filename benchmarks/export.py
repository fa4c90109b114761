"""How long an exported file takes for an image: `python benchmarks/export.py [--size 360 480] [--rounds 30]`.

For three models with random weights it prints one row each: milliseconds on one thread of the float file with a softmax
over all classes, of the float file as it is exported, and of its quantised twin; how many times faster the twin is; and
the size of both. The files take turns, and each figure is the median. Times depend on the processor: 8-bit products
are fast where it has instructions for them, VNNI on x86.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from ucc import export
from ucc.config import ModelParams
from ucc.data.images import write_png
from ucc.data.manifest import Sample
from ucc.deployment import THREADS, measure_latency
from ucc.export import ExportedGraph, export_segmenter
from ucc.inference import uncertainty
from ucc.models import Segmenter, build_segmenter
from ucc.models.segmenter import upsample
from ucc.models.store import SegmenterFacts
from ucc.quantization import quantize

CLASSES = 11
LIGHT = ModelParams(
    backbone="mobilenet_v2", weights="none", output_stride=16, head="separable", head_width=128, dropout=0.1
)
MODELS = (
    LIGHT,
    replace(LIGHT, backbone="mobilenet_v3_large"),
    replace(LIGHT, backbone="resnet18", head="dense", head_width=256),
)
OPSET = 18
IMAGES = 4


class Row(NamedTuple):
    """Milliseconds, and sizes in 10⁶ bytes."""

    softmax_ms: float
    float_ms: float
    int8_ms: float
    float_mb: float
    int8_mb: float


class SoftmaxGraph(ExportedGraph):
    """The graph with probabilities of all classes, of which only the largest is used."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the base's."""
        logits = self.segmenter.heads[0](self.segmenter.encode(image.permute(0, 3, 1, 2))).float()
        probabilities = upsample(logits, (image.shape[1], image.shape[2])).softmax(dim=1)
        return probabilities.argmax(dim=1).to(torch.uint8), uncertainty(probabilities), logits


def main() -> None:
    """Export, quantise, measure, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), help="height and width in pixels")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = [smooth_noise(rng, *arguments.size) for _ in range(IMAGES)]
    rows = []
    for params in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(params, images, Path(folder), arguments.rounds))
        print(f"measured {params.backbone}", file=sys.stderr)
    height, width = arguments.size
    print(f"{height}x{width}, {THREADS} thread, median of {arguments.rounds} rounds\n")
    print("| model, head | softmax, ms | float, ms | int8, ms | float / int8 | float, MB | int8, MB |")
    print("|---|---|---|---|---|---|---|")
    for params, row in zip(MODELS, rows, strict=True):
        print(
            f"| {params.backbone}, {params.head} {params.head_width} | {row.softmax_ms:.1f} | {row.float_ms:.1f} "
            f"| {row.int8_ms:.1f} | {row.float_ms / row.int8_ms:.1f} | {row.float_mb:.1f} | {row.int8_mb:.1f} |"
        )


def measure(params: ModelParams, images: list[np.ndarray], folder: Path, rounds: int) -> Row:
    """Write the three files of one model, and time them."""
    segmenter = build_segmenter(params, CLASSES, heads=2, seed=0)
    settle(segmenter, images)
    softmax, plain, int8 = (folder / f"{name}.onnx" for name in ("softmax", "float", "int8"))
    write(segmenter, params, plain)
    with patch.object(export, "ExportedGraph", SoftmaxGraph):
        write(segmenter, params, softmax)
    samples = [Sample(f"train/{n}", f"{n}.png", "", "unlabeled") for n in range(len(images))]
    for sample, image in zip(samples, images, strict=True):
        write_png(folder / sample.image, image)
    quantize(plain, int8, folder, samples)
    sizes = [file.stat().st_size / 1e6 for file in (plain, int8)]
    return Row(*measure_latency([softmax, plain, int8], images[0], (rounds, rounds)), *sizes)


def write(segmenter: Segmenter, params: ModelParams, path: Path) -> None:
    """Export with metadata of no meaning."""
    names = tuple(f"class {index}" for index in range(CLASSES))
    facts = SegmenterFacts("noise", names, ((0, 0, 0),) * CLASSES, params, 0, "", "", {})
    export_segmenter(segmenter, facts, {}, "unknown", path, OPSET)


def settle(segmenter: Segmenter, images: list[np.ndarray]) -> None:
    """BatchNorm statistics of the images, without which random activations vanish or explode."""
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        segmenter.train()(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))


def smooth_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture in which neighbouring pixels resemble each other, RGB uint8 (H, W, 3)."""
    noise = torch.from_numpy(rng.random((1, 3, height // 8 + 2, width // 8 + 2), np.float32))
    smooth = nn.functional.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)[0]
    return np.ascontiguousarray((smooth * 255).to(torch.uint8).permute(1, 2, 0).numpy())


if __name__ == "__main__":
    main()
