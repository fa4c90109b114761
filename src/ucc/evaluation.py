"""How good a segmenter is on labelled images: scores of its heads, and of their mean, as tables and files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ucc.config import EvaluateParams
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest, Sample
from ucc.data.samples import load_sample
from ucc.distributed import rank, union, world
from ucc.errors import UserError
from ucc.files import write_csv, write_json
from ucc.inference import predict_image
from ucc.memory import explained_on_image
from ucc.metrics import ConfusionMatrix
from ucc.models.modes import evaluation_mode
from ucc.models.store import SegmenterFacts
from ucc.progress import Progress

DEPLOYED = "head_1"  # the head that is exported, and whose scores stand for the model


@dataclass(frozen=True)
class Evaluation:
    """Confusion matrices over `images` images by predictor: head_1, and of two heads head_2 and mean."""

    matrices: Mapping[str, ConfusionMatrix]
    images: int

    def miou(self) -> dict[str, float]:
        """Mean IoU of each predictor, in percent."""
        return {name: 100 * matrix.mean_iou() for name, matrix in self.matrices.items()}


def evaluate(
    segmenter: nn.Module,
    samples: Sequence[Sample],
    dataset: Path,
    info: DatasetInfo,
    params: EvaluateParams,
    device: torch.device,
    progress: bool = True,
) -> Evaluation:
    """Compare each head's prediction, and that of the heads' mean probabilities, with the masks of `samples`.

    Images go one at a time and at their own size: nothing is resized or cropped, so that every pixel of every
    mask counts exactly once. Under torch.distributed each process takes its share of the samples, which may be
    none, and reads the same scores over all of them.

    Args:
        segmenter: on `device`; maps images to one tensor of logits (B, C, H, W) per head.
        samples: each with a mask.
        dataset: folder that the samples' paths are relative to.
        progress: show how far it is, on stderr.

    Raises:
        UserError: if there are no samples, or none with a labelled pixel, or memory runs out.
    """
    if not samples:
        raise UserError(f"{dataset}: there is no image to evaluate on; the data set needs a val split.")
    matrices: dict[str, ConfusionMatrix] = {}
    own = samples[rank() :: world()]
    shown = Progress("evaluate", len(own)) if progress else None
    with evaluation_mode(segmenter):
        for sample in own:
            image, mask = load_sample(dataset, sample)
            truth = torch.from_numpy(mask).to(device)
            with explained_on_image(dataset / sample.image, mask.shape, params):
                for name, p in _predictors(predict_image(segmenter, image, params, device)).items():
                    if name not in matrices:
                        matrices[name] = ConfusionMatrix(info.num_classes, info.ignore_index).to(device)
                    matrices[name].update(p.argmax(dim=1).squeeze(0), truth)
            if shown:
                shown.advance()
    for name in union(matrices):
        matrices.setdefault(name, ConfusionMatrix(info.num_classes, info.ignore_index).to(device))
    if math.isnan(matrices[DEPLOYED].mean_iou()):
        raise UserError(
            f"{dataset}: no image to evaluate on has a labelled pixel; check the masks of the {params.split} split."
        )
    return Evaluation(matrices, len(samples))


def validate_miou(
    segmenter: nn.Module,
    samples: Sequence[Sample],
    dataset: Path,
    info: DatasetInfo,
    params: EvaluateParams,
    device: torch.device,
) -> dict[str, float]:
    """Mean IoU of each predictor in percent, as training watches it: `evaluate` on whole images, silent."""
    whole = replace(params, split="val", sliding_window=False)
    return evaluate(segmenter, samples, dataset, info, whole, device, progress=False).miou()


def check_origin(facts: SegmenterFacts, checkpoint: Path, manifest: Manifest, info: DatasetInfo) -> None:
    """Refuse a checkpoint of other data: its training set might hold the images it would be measured on.

    Raises:
        UserError: naming the checkpoint and what differs.
    """
    for what, trained, present in (
        ("classes", ", ".join(facts.classes), ", ".join(info.classes)),
        ("the partition", facts.manifest, manifest.hash),
    ):
        if trained != present:
            raise UserError(
                f"{checkpoint}: trained with {what} {trained}, here it is {present}. Run the stage `train`."
            )


def write_evaluation(
    evaluation: Evaluation,
    facts: SegmenterFacts,
    params: EvaluateParams,
    metrics: Path,
    per_class: Path,
    confusion: Path,
) -> None:
    """Write the results as three files.

    Args:
        params: which checkpoint was measured, on which split.
        metrics: JSON. `miou`, `mean_accuracy` and `pixel_accuracy` of head 1, then of each predictor, in
            percent with four decimals; then what was measured: checkpoint, step, manifest, fingerprint, split and
            the number of its images.
        per_class: CSV, one row a class: its share of the true pixels, IoU of each predictor and accuracy of
            head 1, all in percent; empty where a figure is undefined.
        confusion: CSV, one row for each pair of classes, of head 1: number of pixels, and their share of the
            actual class in [0, 1].
    """
    scores = {name: _scores(matrix) for name, matrix in evaluation.matrices.items()}
    origin = {
        "checkpoint": params.checkpoint,
        "step": facts.step,
        "manifest": facts.manifest,
        "fingerprint": facts.fingerprint,
        "split": params.split,
        "images": evaluation.images,
    }
    write_json(metrics, {**scores[DEPLOYED], **scores, **origin})
    rows = per_class_rows(evaluation, facts.classes)
    write_csv(per_class, rows, list(rows[0]))
    write_csv(
        confusion,
        _confusion_rows(evaluation.matrices[DEPLOYED].matrix, facts.classes),
        ("actual", "predicted", "pixels", "share"),
    )


def per_class_rows(evaluation: Evaluation, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The table that `write_evaluation` describes under `per_class`; None where a figure is undefined."""
    deployed = evaluation.matrices[DEPLOYED]
    truth = deployed.matrix.sum(dim=1).double()
    columns = {"share": truth / truth.sum()}
    columns |= {f"iou_{name}": matrix.per_class_iou() for name, matrix in evaluation.matrices.items()}
    columns[f"accuracy_{DEPLOYED}"] = deployed.per_class_accuracy()
    return [
        {"class": name, **{key: _percent(float(values[index])) for key, values in columns.items()}}
        for index, name in enumerate(classes)
    ]


def format_table(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """The per-class table, with the means as its last row, for a terminal."""
    rows = per_class_rows(evaluation, classes)
    means = {f"iou_{name}": value for name, value in evaluation.miou().items()}
    means[f"accuracy_{DEPLOYED}"] = 100 * float(evaluation.matrices[DEPLOYED].per_class_accuracy().nanmean())
    header = list(rows[0])
    width = max(len(name) for name in (*classes, "class", "mean"))
    lines = ["  ".join([f"{header[0]:<{width}}", *header[1:]])]
    for row in [*rows, {"class": "mean", **means}]:
        cells = ["" if row.get(key) is None else f"{row[key]:.2f}" for key in header[1:]]
        padded = [f"{cell:>{len(key)}}" for cell, key in zip(cells, header[1:], strict=True)]
        lines.append("  ".join([f"{row['class']:<{width}}", *padded]).rstrip())
    return "\n".join(lines)


def _predictors(heads: Sequence[Tensor]) -> dict[str, Tensor]:
    named = {f"head_{number}": p for number, p in enumerate(heads, start=1)}
    return named if len(heads) == 1 else named | {"mean": torch.stack(list(heads)).mean(dim=0)}


def _scores(matrix: ConfusionMatrix) -> dict[str, float | None]:
    return {
        "miou": _percent(matrix.mean_iou()),
        "mean_accuracy": _percent(float(matrix.per_class_accuracy().nanmean())),
        "pixel_accuracy": _percent(matrix.pixel_accuracy()),
    }


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else round(100 * share, 4)


def _confusion_rows(matrix: Tensor, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "actual": actual,
            "predicted": predicted,
            "pixels": pixels,
            "share": round(pixels / sum(counts), 6) if sum(counts) else None,
        }
        for actual, counts in zip(classes, matrix.tolist(), strict=True)
        for predicted, pixels in zip(classes, counts, strict=True)
    ]
