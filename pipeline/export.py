"""Stage `export`: the evaluated segmenter as one ONNX file, compared with torch on validation images."""

from pathlib import Path

from ucc import paths
from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.export import export_verified, git_revision, read_metrics
from ucc.files import write_json
from ucc.models.store import load_segmenter
from ucc.parity import parity_images, parity_report
from ucc.stage import run_stage


def main(params: Params) -> None:
    """Write the ONNX file and how far it differs from torch."""
    segmenter, facts = load_segmenter(paths.BEST if params.evaluate.checkpoint == "best" else paths.FINAL)
    metrics = read_metrics(paths.METRICS)
    images = parity_images(paths.DATASET, Manifest.read(paths.MANIFEST), params.export.parity_images)
    revision = git_revision(Path())
    print("exporting to ONNX and comparing with torch ...", flush=True)
    cases = export_verified(segmenter, facts, metrics, revision, paths.SEGMENTER, params.export, images)
    write_json(paths.PARITY, parity_report(cases, paths.SEGMENTER, params.export.opset))
    for case in cases:
        print(f"{case.name}: share of pixels with another class {case.disagreement:.1e},", end=" ")
        print(f"largest error of the uncertainty {case.max_uncertainty_error:.1e}")
    print(f"parity: {paths.PARITY}")
    print(f"model:  {paths.SEGMENTER}")
    print(f"try it: ucc segment --model {paths.SEGMENTER} IMAGE_OR_FOLDER ... OUT")


if __name__ == "__main__":
    run_stage(main)
