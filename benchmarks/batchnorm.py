"""BatchNorm in use and in training: `python benchmarks/batchnorm.py [MODEL] [--every 3]`, where the pipeline ran.

Prints the mIoU of head 1 with running statistics, as in deployment, and with those of batches drawn at random, as in
training, by sequence (what a file's name has before the first `_`), for the val images and for the unlabelled ones
whose masks lie in the data set all the same. What is left over from whole batches is left out. Where the two differ, a
network learns in another state than it is used in. The last column counts images that have collapsed, with running
statistics: nearly all is taken for one class that it is not (`ucc.pseudo_labels.has_collapsed`).
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ucc import paths
from ucc.data.dataset import IGNORE_INDEX
from ucc.data.manifest import Manifest, Sample
from ucc.data.samples import load_sample
from ucc.metrics import ConfusionMatrix
from ucc.models.store import load_segmenter
from ucc.pseudo_labels import has_collapsed
from ucc.seeding import generator


class Figures(NamedTuple):
    """mIoU of head 1 in percent, and how many images have collapsed."""

    miou: float
    collapsed: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=paths.FINAL)
    parser.add_argument("--every", type=int, default=3, help="take one unlabelled image of so many")
    parser.add_argument("--batch", type=int, default=4, help="images of a batch")
    arguments = parser.parse_args()
    segmenter, facts = load_segmenter(arguments.model)
    print(f"{'':<10}{'sequence':<12}{'images':>8}{'running':>9}{'batch':>8}{'collapsed':>11}")
    for subset, every in (("val", 1), ("unlabeled", arguments.every)):
        samples = whole_batches(with_masks(subset)[::every], arguments.batch)
        running, batch = (
            measure(segmenter, len(facts.classes), samples, arguments.batch, mode) for mode in (False, True)
        )
        for sequence, (miou, collapsed) in running.items():
            count = sum(sequence in (name_of(sample), "all") for sample in samples)
            print(f"{subset:<10}{sequence:<12}{count:>8}{miou:>9.1f}{batch[sequence].miou:>8.1f}{collapsed:>11}")


def with_masks(subset: str) -> list[Sample]:
    """The samples of a subset that have a mask, hidden or not."""
    masked = [replace(sample, mask=f"masks/{sample.id}.png") for sample in Manifest.read(paths.MANIFEST).subset(subset)]
    return [sample for sample in masked if (paths.DATASET / sample.mask).is_file()]


def whole_batches(samples: Sequence[Sample], size: int) -> list[Sample]:
    """The samples in an order drawn at random, as many as fill batches of a size."""
    order = generator(0, "batches").permutation(len(samples))
    return [samples[index] for index in order[: len(samples) // size * size]]


def name_of(sample: Sample) -> str:
    """Of the sequence that an image is from."""
    return Path(sample.image).name.partition("_")[0]


def measure(
    segmenter: nn.Module, classes: int, samples: Sequence[Sample], size: int, batch_statistics: bool
) -> dict[str, Figures]:
    """Figures by sequence and of all, dropout off; the running statistics stay as they are."""
    for module in segmenter.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
            module.momentum = 0.0
    confusion: defaultdict[str, ConfusionMatrix] = defaultdict(lambda: ConfusionMatrix(classes))
    collapsed: Counter[str] = Counter()
    for start in range(0, len(samples), size):
        chosen = samples[start : start + size]
        images, masks = zip(*(load_sample(paths.DATASET, sample) for sample in chosen), strict=True)
        with torch.inference_mode():
            logits = segmenter(torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images]))[0]
        for sample, found, mask in zip(chosen, logits.argmax(dim=1), masks, strict=True):
            for sequence in (name_of(sample), "all"):
                confusion[sequence].update(found, torch.from_numpy(mask))
                collapsed[sequence] += has_collapsed(found, torch.from_numpy(mask), IGNORE_INDEX)
    return {name: Figures(100 * confusion[name].mean_iou(), collapsed[name]) for name in sorted(confusion)}


if __name__ == "__main__":
    main()
