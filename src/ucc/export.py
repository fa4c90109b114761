"""A trained segmenter as one ONNX file that explains itself, measured against torch before anyone gets it.

The file (see `ucc.segmenter` for its reader):

    input   image         uint8 (B, H, W, 3), RGB as image libraries give it; batch, height and width are free
    output  classes       uint8 (B, H, W), index of the most probable class
    output  uncertainty   float32 (B, H, W), 1 - max_c p_c, from 0 (certain) to 1 - 1/C (all classes alike)
    output  logits        float32 (B, C, ceil(H / 4), ceil(W / 4)), before the upsampling that the others come from

Normalisation, softmax and argmax are in the graph. It holds head 1 alone, the model at test time. The logits are
what tiles of a large image are blended by (`ucc.tiling`); nothing is computed for them that the rest does not need.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ucc
from ucc.config import ExportParams
from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image, read_image
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.files import atomic_path
from ucc.inference import uncertainty
from ucc.models import Segmenter
from ucc.models.segmenter import upsample
from ucc.models.store import SegmenterFacts
from ucc.segmenter import FORMAT, FORMAT_KEY, INPUT, LOGITS, OUTPUTS
from ucc.segmenter import Segmenter as ExportedSegmenter
from ucc.tiling import ALIGNMENT, segment_tiles

UNCERTAINTY = "1 - max_c softmax(logits)_c of head 1: 0 is certain, 1 - 1/C is all classes alike"
# What determines the result; changes elsewhere, such as the outputs of earlier stages, do not make it dirty.
TRACKED = ("src", "pipeline", "params.yaml", "dvc.yaml", "requirements")
# Batch, height and width differ from each other and from 1, which the exporter would take for constants.
EXAMPLE_SHAPE = (2, 65, 97, 3)


class ExportedGraph(nn.Module):
    """Head 1 of a segmenter between uint8 images (B, H, W, 3) and what the exported file gives for them."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images to classes, uint8 (B, H, W), uncertainty, float32 (B, H, W), and logits at stride 4, float32."""
        logits = self.segmenter.heads[0](self.segmenter.encode(image.permute(0, 3, 1, 2))).float()
        probabilities = upsample(logits, (image.shape[1], image.shape[2])).softmax(dim=1)
        return probabilities.argmax(dim=1).to(torch.uint8), uncertainty(probabilities), logits


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


def export_segmenter(
    segmenter: Segmenter,
    facts: SegmenterFacts,
    metrics: Mapping[str, Any],
    revision: str,
    path: Path,
    opset: int,
) -> None:
    """Write `segmenter`, which is put into evaluation mode, as one ONNX file with everything known about it.

    The same arguments give the same bytes.

    Raises:
        UserError: if `opset` is beyond what the installed onnx knows.
    """
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UserError(f"export.opset = {opset}: the installed onnx knows opsets up to {newest}.")
    program = torch.onnx.export(
        ExportedGraph(segmenter).eval(),
        (torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8),),
        dynamo=True,
        opset_version=opset,
        input_names=[INPUT],
        output_names=[*OUTPUTS, LOGITS],
        dynamic_shapes={"image": {0: "batch", 1: "height", 2: "width"}},
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _strip(model)
    model.producer_name, model.producer_version = "ucc", ucc.__version__
    onnx.helper.set_model_props(model, _metadata(facts, metrics, revision))
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def export_verified(
    segmenter: Segmenter,
    facts: SegmenterFacts,
    metrics: Mapping[str, Any],
    revision: str,
    path: Path,
    params: ExportParams,
    images: Sequence[Image],
) -> list[ParityCase]:
    """Export, measure on `images`, and leave the file at `path` only if it keeps the bounds of `params`.

    Raises:
        UserError: with the figures, if the file differs from torch by more than `params` allow.
    """
    sizes = parity_sizes(*images[0].shape[:2])
    with atomic_path(path) as temporary:
        export_segmenter(segmenter, facts, metrics, revision, temporary, params.opset)
        cases = measure_parity(segmenter, temporary, images, sizes)
        check_parity(cases, params)
    return cases


def parity_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes to measure besides the images' own: one that no stride divides, and a small one, both odd."""
    return [(max(height - 4, 0) | 1, max(width - 4, 0) | 1), (height // 4 | 1, width // 4 | 1)]


def measure_parity(
    segmenter: Segmenter, path: Path, images: Sequence[Image], sizes: Sequence[tuple[int, int]]
) -> list[ParityCase]:
    """Compare the file at `path` with `segmenter`, which is put into evaluation mode.

    Each of `images`, RGB uint8 (H, W, 3), is tried at its own size and resized to each of `sizes`
    (height, width); at each of these there is a batch of two as well. The file's logits count too: class map and
    uncertainty that one tile over the whole image gives are compared like the file's own.
    """
    graph, exported = ExportedGraph(segmenter).eval(), ExportedSegmenter(path, tile=0)
    differing: dict[tuple[int, int, int], list[float]] = {}
    errors: dict[tuple[int, int, int], list[float]] = {}
    for batch in _batches(images, sizes):
        with torch.inference_mode():
            classes, expected, _ = graph(torch.from_numpy(batch))
        shape = (batch.shape[0], batch.shape[1], batch.shape[2])
        for found_classes, found_uncertainty in (exported.segment_batch(batch), _segment_by_logits(exported, batch)):
            differing.setdefault(shape, []).append(float(np.mean(found_classes != classes.numpy())))
            errors.setdefault(shape, []).append(float(np.abs(found_uncertainty - expected.numpy()).max()))
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


def read_metrics(path: Path) -> dict[str, Any]:
    """The figures that the file is to carry, as the stage `evaluate` wrote them.

    Raises:
        UserError: if the file is missing or no JSON object.
    """
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}). The stage `evaluate` writes it.") from error
    if not isinstance(metrics, dict):
        raise UserError(f"{path}: holds no JSON object. The stage `evaluate` writes it.")
    return metrics


def git_revision(folder: Path) -> str:
    """Commit at `folder`, with "-dirty" if code or parameters changed since; "unknown" without git."""
    try:
        commit = _git(folder, "rev-parse", "--verify", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", *TRACKED)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _metadata(facts: SegmenterFacts, metrics: Mapping[str, Any], revision: str) -> dict[str, str]:
    def as_json(value: Any) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    return {
        FORMAT_KEY: FORMAT,
        "ucc_version": ucc.__version__,
        "dataset": facts.dataset,
        "classes": as_json(facts.classes),
        "colors": as_json(facts.colors),
        "ignore_index": str(IGNORE_INDEX),
        "model": as_json(asdict(facts.model)),
        "params": as_json(facts.params),
        "metrics": as_json(metrics),
        "step": str(facts.step),
        "fingerprint": facts.fingerprint,
        "manifest": facts.manifest,
        "git_revision": revision,
        "uncertainty": UNCERTAINTY,
    }


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with paths of this machine, and shapes of inner tensors."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")


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
