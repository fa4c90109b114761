"""Stage `evaluate`: how good the trained segmenter is on val or test, in tables and pictures."""

from ucc.stage import run_stage
from ucc import paths
from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest, measured_samples
from ucc.evaluation import check_origin, evaluate, format_table, write_evaluation
from ucc.files import write_csv, write_json
from ucc.inference import choose_device
from ucc.models.store import load_segmenter
from ucc.panels import write_panels
from ucc.pseudo_labels import CLASS_COLUMNS, hidden_truth, measure_pseudo_labels


def main(params: Params) -> None:
    """Measure the chosen checkpoint and write scores, confusion matrix and panels."""
    checkpoint = paths.BEST if params.evaluate.checkpoint == "best" else paths.FINAL
    segmenter, facts = load_segmenter(checkpoint)
    manifest, info = Manifest.read(paths.MANIFEST), DatasetInfo.read(paths.DATASET)
    check_origin(facts, checkpoint, manifest, info)
    device = choose_device(params.train.accelerator)
    segmenter.to(device)
    samples = measured_samples(manifest, params.evaluate.split)

    evaluation = evaluate(segmenter, samples, paths.DATASET, info, params.evaluate, device)
    write_evaluation(evaluation, facts, params.evaluate, paths.METRICS, paths.PER_CLASS, paths.CONFUSION)
    write_panels(segmenter, samples, paths.DATASET, info, params.evaluate, device, paths.PANELS)

    hidden = hidden_truth(paths.DATASET, manifest, params.evaluate.pseudo_label_images)
    pseudo_labels = measure_pseudo_labels(segmenter, hidden, paths.DATASET, info, params.evaluate, device)
    write_json(paths.PSEUDO_LABELS, pseudo_labels.summary)
    write_csv(paths.PSEUDO_LABELS_BY_CLASS, pseudo_labels.by_class, CLASS_COLUMNS)

    print(format_table(evaluation, info.classes))
    print(f"partition {manifest.hash}, step {facts.step}, {evaluation.images} images of {params.evaluate.split}")
    print(f"metrics: {paths.METRICS}, {paths.PER_CLASS}, {paths.CONFUSION}, {paths.PSEUDO_LABELS}")
    print(f"pictures: {paths.PANELS}")


if __name__ == "__main__":
    run_stage(main)
