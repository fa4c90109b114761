"""A trained segmenter as one ONNX file that explains itself, measured against torch before anyone gets it.

The file (see `ucc.segmenter` for its reader):

    input   image         uint8 (B, H, W, 3), RGB as image libraries give it; batch, height and width are free
    output  classes       uint8 (B, H, W), index of the most probable class
    output  uncertainty   float32 (B, H, W), 1 - max_c p_c, from 0 (certain) to 1 - 1/C (all classes alike)
    output  logits        float32 (B, C, ceil(H / 4), ceil(W / 4)), before the upsampling that the others come from

Normalisation, upsampling and argmax are in the graph. It holds head 1 alone, the model at test time. The logits are
what tiles of a large image are blended by (`ucc.tiling`); nothing is computed for them that the rest does not need.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

import ucc
from ucc.config import ExportParams, Params
from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image
from ucc.errors import UserError
from ucc.files import atomic_path
from ucc.models import Segmenter
from ucc.models.segmenter import upsample
from ucc.models.store import TRAINED_WITH, SegmenterFacts
from ucc.parity import ParityCase, check_parity, measure_parity, parity_sizes
from ucc.segmenter import FORMAT, FORMAT_KEY, INPUT, LOGITS, OUTPUTS

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
        scores = upsample(logits, (image.shape[1], image.shape[2]))
        # Of the softmax only the largest probability is wanted, exp(0) / sum(exp(score - largest score)): dividing
        # every class by the sum would take a quarter of the whole file's time.
        total = (scores - scores.amax(dim=1, keepdim=True)).exp().sum(dim=1)
        return scores.argmax(dim=1).to(torch.uint8), 1 - 1 / total, logits


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
    content = _serialized(segmenter, facts, metrics, revision, opset)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _serialized(
    segmenter: Segmenter, facts: SegmenterFacts, metrics: Mapping[str, Any], revision: str, opset: int
) -> bytes:
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UserError(f"export.opset = {opset}: the installed onnx knows opsets up to {newest}.")
    with _out_of_place(segmenter):
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
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """No activation writes over its input: to undo that in the graph takes the exporter a third of its time."""
    parts = [vars(part) for part in module.modules() if vars(part).get("inplace")]
    for part in parts:
        part["inplace"] = False
    try:
        yield
    finally:
        for part in parts:
            part["inplace"] = True


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
        temporary.write_bytes(_serialized(segmenter, facts, metrics, revision, params.opset))
        cases = measure_parity(segmenter, temporary, images, sizes)
        check_parity(cases, params)
    return cases


def with_all_params(facts: SegmenterFacts, params: Params) -> SegmenterFacts:
    """`facts` with every section of params.yaml: those of training as the checkpoint has them, the others as now."""
    trained = {section: facts.params[section] for section in TRAINED_WITH}
    return replace(facts, params=asdict(params) | trained)


def read_metrics(path: Path, facts: SegmenterFacts) -> dict[str, Any]:
    """The figures that the file is to carry, as the stage `evaluate` wrote them of the segmenter with these `facts`.

    Raises:
        UserError: if the file is missing, no JSON object, or tells of another segmenter.
    """
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}). The stage `evaluate` writes it.") from error
    if not isinstance(metrics, dict):
        raise UserError(f"{path}: holds no JSON object. The stage `evaluate` writes it.")
    measured = metrics.get("fingerprint"), metrics.get("step")
    if measured != (facts.fingerprint, facts.step):
        raise UserError(
            f"{path}: measured of run {measured[0]} after step {measured[1]}, while the checkpoint is of run "
            f"{facts.fingerprint} after step {facts.step}. Run the stage `evaluate`."
        )
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
