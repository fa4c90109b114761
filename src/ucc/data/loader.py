"""From manifest to batches: the batch of a step is a function of (seed, step) alone."""

import signal
from collections.abc import Generator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ucc.config import Params, TrainParams
from ucc.data.augment import Geometry, Pixels, StrongView
from ucc.data.batch import Batch, LabeledBatch, UnlabeledBatch, step_uses_unlabeled
from ucc.data.images import read_image
from ucc.data.manifest import Manifest, Sample
from ucc.data.samples import load_sample
from ucc.errors import UserError
from ucc.seeding import generator


class StepBatches(Dataset[Batch]):
    """Indexed by the training step; `rank` of `world` processes gets its equal share of the global batch.

    With `train.accumulation` parts of the global batch, it gets its share of the first part, then of the second, so
    that a part holds the same images whatever the number of processes.

    `unlabeled` is whether the training method learns from unlabelled images; a step that uses none reads none.
    `strong_views` is how many views the training method looks at beside the one for pseudo labels; no more are made.
    """

    def __init__(
        self,
        dataset: Path,
        manifest: Manifest,
        params: Params,
        unlabeled: bool,
        strong_views: int = 2,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset = dataset
        self.params = params
        self.strong_views = strong_views
        self.labeled = manifest.subset("labeled")
        self.unlabeled = manifest.subset("unlabeled") if unlabeled else ()
        if not self.labeled:
            raise UserError("The manifest holds no labelled image; choose a larger partition.ratio.")
        if unlabeled and not self.unlabeled and params.method.unsup_weight > 0:
            raise UserError(
                f"method.name = {params.method.name} needs unlabelled images and the manifest holds none; choose a "
                "smaller partition.ratio, add images without masks, or set method.name: supervised."
            )
        self.labeled_slots = _share(params.train, "batch_labeled", rank, world)
        self.unlabeled_slots = _share(params.train, "batch_unlabeled", rank, world)
        self.strong_view = StrongView(
            (params.views.strong_operations[0], params.views.strong_operations[1]),
            params.views.strong_strength,
        )

    def __getitem__(self, step: int) -> Batch:
        """The batch of training step `step`."""
        return Batch(self._labeled_batch(step), self._unlabeled_batch(step) if self._uses_unlabeled(step) else None)

    def images(self, step: int) -> int:
        """How many images the global batch of a step has, labelled and unlabelled ones together."""
        sizes = self.params.train
        return sizes.batch_labeled + (sizes.batch_unlabeled if self._uses_unlabeled(step) else 0)

    def names(self, step: int) -> dict[str, list[str]]:
        """Which images, by their places in the data set, the batch of a step is made from: labelled, unlabelled."""
        sizes = self.params.train
        unlabeled_slots = self.unlabeled_slots if self._uses_unlabeled(step) else []
        streams = {
            "labeled": (self.labeled, self.labeled_slots, sizes.batch_labeled),
            "unlabeled": (self.unlabeled, unlabeled_slots, sizes.batch_unlabeled),
        }
        return {
            name: [self._sample(samples, name, step * size + slot).image for slot in slots]
            for name, (samples, slots, size) in streams.items()
        }

    def _uses_unlabeled(self, step: int) -> bool:
        return bool(self.unlabeled) and step_uses_unlabeled(self.params.method, self.params.train, step)

    def _labeled_batch(self, step: int) -> LabeledBatch:
        images, masks = [], []
        for slot in self.labeled_slots:
            sample = self._sample(self.labeled, "labeled", step * self.params.train.batch_labeled + slot)
            image, mask = load_sample(self.dataset, sample)
            rng = generator(self.params.train.seed, "weak labeled", step, slot)
            geometry = Geometry.draw(mask.shape, self.params.views, rng)
            images.append(geometry.image(image))
            masks.append(geometry.mask(mask))
        return LabeledBatch(
            slots=torch.tensor(self.labeled_slots),
            images=_channels_first(images),
            masks=torch.from_numpy(np.stack(masks)).long(),
        )

    def _unlabeled_batch(self, step: int) -> UnlabeledBatch:
        weak, strong = [], []
        for slot in self.unlabeled_slots:
            sample = self._sample(self.unlabeled, "unlabeled", step * self.params.train.batch_unlabeled + slot)
            views = self._views(read_image(self.dataset / sample.image), step, slot)
            weak.append(views[0])
            strong.append(views[1:])
        weak_images, weak_valid = _channels_first([image for image, _ in weak]), _valid([valid for _, valid in weak])
        per_view = list(zip(*strong, strict=True))
        images = [_channels_first([image for image, _ in view]) for view in per_view]
        valid = [_valid([valid for _, valid in view]) for view in per_view]
        return UnlabeledBatch(
            slots=torch.tensor(self.unlabeled_slots),
            weak=weak_images,
            weak_valid=weak_valid,
            strong=torch.stack(images) if images else weak_images.new_empty((0, *weak_images.shape)),
            strong_valid=torch.stack(valid) if valid else weak_valid.new_empty((0, *weak_valid.shape)),
        )

    def _views(self, image: Pixels, step: int, slot: int) -> list[tuple[Pixels, Pixels]]:
        """The view for pseudo labels and the view(s) that learn from them, as `method.views` says (table 4)."""
        mode, views = self.params.method.views, self.params.views
        rng = generator(self.params.train.seed, "weak unlabeled", step, slot)
        geometry = Geometry.draw(image.shape[:2], views, rng, crop_only=mode == "none")
        weak = geometry.image(image), geometry.valid()
        if mode in ("none", "weak"):
            return [weak] * (1 + min(1, self.strong_views))
        count = 1 if mode == "strong" else min(self.strong_views, 2 if views.strong_per_head else 1)
        strong = []
        for view in range(count):
            rng = generator(self.params.train.seed, "strong", step, slot, view)
            if views.photometric_first:
                changed, kept = self.strong_view(image, np.ones(image.shape[:2], np.uint8), rng)
                strong.append((geometry.image(changed), geometry.mask(kept) * geometry.valid()))
            else:
                strong.append(self.strong_view(*weak, rng))
        return strong * (1 + min(1, self.strong_views)) if mode == "strong" else [weak, *strong]

    def _sample(self, samples: Sequence[Sample], stream: str, position: int) -> Sample:
        """Shuffled anew each time all have been seen; `position` counts from the beginning of training."""
        epoch, offset = divmod(position, len(samples))
        return samples[int(_order(self.params.train.seed, stream, epoch, len(samples))[offset])]


def training_batches(
    batches: StepBatches, start: int, stop: int, workers: int, device: torch.device
) -> Generator[Batch, None, None]:
    """The batches of steps `start` to `stop - 1`, prepared by `workers` processes (0: in this one).

    Close it to end before the last one: that ends the workers.

    Raises:
        UserError: if an image or a mask cannot be read.
    """
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
    )
    prepared = iter(loader)
    try:
        yield from prepared
    except UserError as error:
        # From a worker it comes with a traceback before its message.
        raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from None
    finally:
        # Else workers, which ignore signals, would be waited for when Python ends, as long as a traceback holds this.
        if isinstance(prepared, _MultiProcessingDataLoaderIter):
            prepared._shutdown_workers()


def _start_worker(_: int) -> None:
    # One thread a worker; OpenCV would take all cores in each of them.
    cv2.setNumThreads(0)
    # Ctrl-C, torchrun and SLURM signal whole groups of processes. A worker that ended would take the trainer with it
    # before its checkpoint is written; it ends with the trainer, however that one ends.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@lru_cache(maxsize=8)
def _order(seed: int, stream: str, epoch: int, count: int) -> NDArray[np.int64]:
    return generator(seed, "order", stream, epoch).permutation(count)


def _share(params: TrainParams, key: str, rank: int, world: int) -> list[int]:
    batch, parts = int(getattr(params, key)), params.accumulation
    if batch % (world * parts):
        times = f" times train.accumulation, {world} x {parts}" if parts > 1 else f", {world}"
        raise UserError(
            f"train.{key} = {batch} is the batch over all devices and must be a multiple of their number{times}."
        )
    size = batch // (world * parts)
    return [(part * world + rank) * size + index for part in range(parts) for index in range(size)]


def _channels_first(images: Sequence[Pixels]) -> Tensor:
    # Channels-last memory behind a channels-first shape: what the convolutions want, and no copy.
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _valid(masks: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(masks) == 1)
