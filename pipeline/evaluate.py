"""Stage `evaluate`: how good the trained segmenter is on the validation images, in tables and pictures."""

from ucc import paths
from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest
from ucc.evaluation import check_origin, evaluate, format_table, write_evaluation
from ucc.inference import choose_device
from ucc.models.store import load_segmenter
from ucc.panels import write_panels
from ucc.stage import run_stage


def main(params: Params) -> None:
    """Measure the chosen checkpoint and write scores, confusion matrix and panels."""
    checkpoint = paths.BEST if params.evaluate.checkpoint == "best" else paths.FINAL
    segmenter, facts = load_segmenter(checkpoint)
    manifest, info = Manifest.read(paths.MANIFEST), DatasetInfo.read(paths.DATASET)
    check_origin(facts, checkpoint, manifest, info)
    device = choose_device(params.train.accelerator)
    segmenter.to(device)
    samples = manifest.subset("val")

    evaluation = evaluate(segmenter, samples, paths.DATASET, info, params.evaluate, device)
    write_evaluation(evaluation, facts, params.evaluate.checkpoint, paths.METRICS, paths.PER_CLASS, paths.CONFUSION)
    write_panels(segmenter, samples, paths.DATASET, info, params.evaluate, device, paths.PANELS)

    print(format_table(evaluation, info.classes))
    print(f"partition {manifest.hash}, step {facts.step}, {evaluation.images} images")
    print(f"metrics: {paths.METRICS}, {paths.PER_CLASS}, {paths.CONFUSION}\npictures: {paths.PANELS}")


if __name__ == "__main__":
    run_stage(main)
