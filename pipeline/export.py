"""Stage `export`: the evaluated segmenter as one ONNX file, compared with torch on real images, and in 8 bits."""

from pathlib import Path

from ucc.stage import run_stage
from ucc import paths
from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest
from ucc.deployment import deploy
from ucc.evaluation import check_origin
from ucc.export import export_verified, git_revision, read_metrics, with_all_params
from ucc.files import write_json
from ucc.models.store import load_segmenter
from ucc.parity import parity_images, parity_report


def main(params: Params) -> None:
    """Write the ONNX file, the quantised one if it is good enough, and what was measured of both."""
    checkpoint = paths.BEST if params.evaluate.checkpoint == "best" else paths.FINAL
    segmenter, facts = load_segmenter(checkpoint)
    manifest, info = Manifest.read(paths.MANIFEST), DatasetInfo.read(paths.DATASET)
    check_origin(facts, checkpoint, manifest, info)
    metrics = read_metrics(paths.METRICS, facts)
    images = parity_images(paths.DATASET, manifest, params.export.parity_images)
    revision, facts = git_revision(Path()), with_all_params(facts, params)
    print("exporting to ONNX and comparing with torch ...", flush=True)
    cases = export_verified(segmenter, facts, metrics, revision, paths.SEGMENTER, params.export, images)
    for case in cases:
        print(f"{case.name}: share of pixels with another class {case.disagreement:.1e},", end=" ")
        print(f"largest error of the uncertainty {case.max_uncertainty_error:.1e}")
    print("measuring on val ...", flush=True)
    deployed = deploy(paths.SEGMENTER, paths.INT8, paths.DATASET, manifest, images[0], params.export.quantize)
    print(deployed.table())
    write_json(paths.PARITY, parity_report(cases, paths.SEGMENTER, params.export.opset) | deployed.metrics())
    write_json(paths.LATENCY, deployed.latency())
    print(f"figures: {paths.PARITY}, {paths.LATENCY}")
    print(f"model:   {paths.SEGMENTER}")
    print(f"int8:    {deployed.why_absent or paths.INT8 / paths.SEGMENTER.name}")
    print(f"try it:  ucc segment --model {paths.SEGMENTER} IMAGE_OR_FOLDER ... OUT")


if __name__ == "__main__":
    run_stage(main)
