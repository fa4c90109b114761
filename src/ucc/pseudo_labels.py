"""How good the pseudo labels are, measured after training against masks that training never saw.

Only where such masks exist: a benchmark hides them from training, a user's own data has none. The figures say
whether UGRM does what it is for: where the heads disagree, the more certain one should be right more often.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ucc.config import EvaluateParams
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest, Sample
from ucc.data.samples import load_sample
from ucc.errors import UserError
from ucc.inference import predict_image
from ucc.memory import explained_on_image
from ucc.metrics import ConfusionMatrix
from ucc.models.modes import evaluation_mode
from ucc.progress import Progress
from ucc.seeding import generator

# Present whatever the method, since DVC drops a plot of which a column is missing.
CLASS_COLUMNS = ("class", "share", "iou_head_1", "iou_head_2", "accuracy_head_1", "accuracy_head_2")


# An image has collapsed when one class takes a larger share of what is found in it, and a smaller one of what is true.
COLLAPSED = 0.95


class PseudoLabelFigures(NamedTuple):
    """What is measured, in percent.

    Attributes:
        summary: over all classes, for pseudo_labels.json.
        by_class: a row of `CLASS_COLUMNS` for each class: share of the labelled pixels, IoU and accuracy of each head's
            labels, None or absent where there is no figure. Beside the class confidences it says whether DCSCP pastes
            what the pseudo labels lack.
    """

    summary: dict[str, Any]
    by_class: list[dict[str, Any]]


def hidden_truth(dataset: Path, manifest: Manifest, count: int) -> list[Sample]:
    """Up to `count` unlabelled samples, drawn at random, whose mask lies in the data set all the same."""
    masked = [
        replace(sample, mask=f"masks/{sample.id}.png")
        for sample in manifest.subset("unlabeled")
        if (dataset / f"masks/{sample.id}.png").is_file()
    ]
    chosen = generator(0, "hidden truth").permutation(len(masked))[:count]
    return [masked[index] for index in sorted(chosen)]


def measure_pseudo_labels(
    segmenter: nn.Module,
    samples: Sequence[Sample],
    dataset: Path,
    info: DatasetInfo,
    params: EvaluateParams,
    device: torch.device,
) -> PseudoLabelFigures:
    """What the heads of a trained segmenter would teach on whole `samples`, in percent of the labelled pixels.

    The summary holds `images` that were measured on, those left out whose mask cannot be read or holds other values
    than classes; `accuracy` and `miou` of each head's labels, and the share of images that have `collapsed`
    (`has_collapsed`); of two heads also their `agreement`, the accuracy of the `more_certain` head of each pixel, and,
    where they disagree, how often the more and the less certain one is right (`disagreeing`). None for a figure
    without any pixel.

    Raises:
        UserError: naming the image for which memory ran out.
    """
    heads: list[ConfusionMatrix] = []
    collapsed: list[int] = []
    tally, images = _Tally(), 0
    progress = Progress("pseudo labels of", len(samples))
    with evaluation_mode(segmenter):
        for sample in samples:
            progress.advance()
            try:
                image, mask = load_sample(dataset, sample)
            except UserError:
                continue  # nothing relies on this mask, so nothing has checked it
            if mask[mask != info.ignore_index].max(initial=0) >= info.num_classes:
                continue
            images += 1
            truth = torch.from_numpy(mask).to(device)
            with explained_on_image(dataset / sample.image, mask.shape, params):
                certain = [p.squeeze(0).max(dim=0) for p in predict_image(segmenter, image, params, device)]
            if not heads:
                heads = [ConfusionMatrix(info.num_classes, info.ignore_index).to(device) for _ in certain]
                collapsed = [0 for _ in certain]
            for index, (_, labels) in enumerate(certain):
                heads[index].update(labels, truth)
                collapsed[index] += has_collapsed(labels, truth, info.ignore_index)
            if len(certain) == 2:
                (first, labels_1), (second, labels_2) = certain
                known = truth != info.ignore_index
                more = torch.where(first >= second, labels_1, labels_2)[known]
                less = torch.where(first >= second, labels_2, labels_1)[known]
                tally.add(more == truth[known], less == truth[known], more == less)
    rows = [_class_row(name, index, heads) for index, name in enumerate(info.classes)]
    figures: dict[str, Any] = {"images": images}
    for number, (matrix, count) in enumerate(zip(heads, collapsed, strict=True), start=1):
        scores = {"accuracy": 100 * matrix.pixel_accuracy(), "miou": 100 * matrix.mean_iou()}
        rounded = {name: None if math.isnan(v) else round(v, 4) for name, v in scores.items()}
        figures[f"head_{number}"] = {**rounded, "collapsed": _percent(count, images)}
    return PseudoLabelFigures(figures | (tally.figures() if len(heads) == 2 else {}), rows)


def has_collapsed(labels: torch.Tensor, truth: torch.Tensor, ignore_index: int) -> bool:
    """Whether nearly all of an image is taken for one class that it is not all of; both (H, W), integers.

    Heads that teach each other can end there: where both say so, nothing corrects them.
    """
    everywhere = labels.flatten().mode().values
    known = truth[truth != ignore_index]
    return bool((labels == everywhere).float().mean() > COLLAPSED and (known == everywhere).float().mean() < COLLAPSED)


def _class_row(name: str, index: int, heads: Sequence[ConfusionMatrix]) -> dict[str, Any]:
    figures: dict[str, float] = {}
    if heads:
        truth = heads[0].matrix.sum(dim=1).double()
        figures["share"] = float(truth[index] / truth.sum())
    for number, matrix in enumerate(heads, start=1):
        figures[f"iou_head_{number}"] = float(matrix.per_class_iou()[index])
        figures[f"accuracy_head_{number}"] = float(matrix.per_class_accuracy()[index])
    return {"class": name, **{key: None if math.isnan(v) else round(100 * v, 4) for key, v in figures.items()}}


class _Tally:
    """Counts of pixels: all, agreeing, and how often the more and the less certain head is right."""

    def __init__(self) -> None:
        self.pixels = self.agreeing = self.more_right = self.more_alone = self.less_alone = 0

    def add(self, more_right: torch.Tensor, less_right: torch.Tensor, agree: torch.Tensor) -> None:
        self.pixels += agree.numel()
        self.agreeing += int(agree.sum())
        self.more_right += int(more_right.sum())
        self.more_alone += int((more_right & ~agree).sum())
        self.less_alone += int((less_right & ~agree).sum())

    def figures(self) -> dict[str, Any]:
        disagreeing = self.pixels - self.agreeing
        return {
            "agreement": _percent(self.agreeing, self.pixels),
            "more_certain": {"accuracy": _percent(self.more_right, self.pixels)},
            "disagreeing": {
                "more_certain": _percent(self.more_alone, disagreeing),
                "less_certain": _percent(self.less_alone, disagreeing),
            },
        }


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None
