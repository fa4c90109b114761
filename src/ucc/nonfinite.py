"""When the loss is no longer finite: which step it began with, on which images, and the batch to look at."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.loader import StepBatches
from ucc.data.palette import paint
from ucc.errors import UserError, some
from ucc.files import atomic_folder, write_json
from ucc.methods import StepLosses


class NonFinite(NamedTuple):
    """The first step, counted from 0, that was not finite, and its figures by name."""

    step: int
    losses: dict[str, float]


class LossWatch:
    """Keeps the losses of the last steps on the device, so that training does not wait for them at every step."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, StepLosses]] = []

    def add(self, step: int, losses: StepLosses) -> None:
        """Keep what a step gave."""
        self._steps.append((step, StepLosses(losses.total.detach(), losses.record)))

    def first_nonfinite(self) -> NonFinite | None:
        """The first step since the last call whose loss is NaN or infinite."""
        steps, self._steps = self._steps, []
        if not steps:
            return None
        broken = ~torch.isfinite(torch.stack([losses.total for _, losses in steps]))
        if not broken.any():
            return None
        step, losses = steps[int(broken.int().argmax())]
        return NonFinite(step, {"loss": losses.total.item()} | {k: v.item() for k, v in losses.record.items()})


def finite_weights(module: nn.Module) -> bool:
    """Whether every parameter is finite: a step with a finite loss can have an infinite gradient."""
    return bool(torch.stack([torch.isfinite(parameter).all() for parameter in module.parameters()]).all())


def stop_nonfinite(found: NonFinite, batches: StepBatches, info: DatasetInfo, run: Path) -> None:
    """Write the batch of the step into the run's folder, and stop.

    The folder `nonfinite_step_<n>` gets every view as a picture, the masks painted in the classes' colours
    (black: not labelled), and batch.json with the names of the files and the losses.

    Raises:
        UserError: always; it names the step, the images, the folder and the remedy.
    """
    number = found.step + 1  # as history.csv counts
    names = batches.names(found.step)
    folder = run / f"nonfinite_step_{number}"
    with atomic_folder(folder) as temporary:
        for name, picture in _pictures(batches, found.step, info).items():
            write_png(temporary / f"{name}.png", picture)
        # Text, since JSON has no NaN.
        losses = {name: str(value) for name, value in found.losses.items()}
        write_json(temporary / "batch.json", {"step": number, **names, "losses": losses})
    broken = ", ".join(f"{name} is {value}" for name, value in found.losses.items() if not math.isfinite(value))
    images = "; ".join(f"{kind}: {some(files)}" for kind, files in names.items() if files)
    raise UserError(
        f"Training is not finite at step {number}: {broken}. Its batch ({images}) is in {folder}. "
        "If these pictures and masks are as they should be, lower train.lr or train.head_lr_multiplier."
    )


def _pictures(batches: StepBatches, step: int, info: DatasetInfo) -> dict[str, Image]:
    """The batch of a step, which is a function of the step, as RGB pictures by name."""
    batch = batches[step]
    pictures: dict[str, Image] = {}
    for slot, image, mask in zip(batch.labeled.slots.tolist(), batch.labeled.images, batch.labeled.masks, strict=True):
        pictures[f"labeled_{slot}_image"] = _rgb(image)
        pictures[f"labeled_{slot}_mask"] = paint(mask.to(torch.uint8).numpy(), info.colors)
    if batch.unlabeled is not None:
        for index, slot in enumerate(batch.unlabeled.slots.tolist()):
            pictures[f"unlabeled_{slot}_weak"] = _rgb(batch.unlabeled.weak[index])
            for view, images in enumerate(batch.unlabeled.strong):
                pictures[f"unlabeled_{slot}_strong_{view + 1}"] = _rgb(images[index])
    return pictures


def _rgb(image: Tensor) -> Image:
    return image.permute(1, 2, 0).contiguous().numpy()
