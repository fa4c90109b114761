"""When memory runs out, for a training step, an image or a process that prepares batches: what to lower."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch

from ucc.config import EvaluateParams, Params
from ucc.errors import UserError

_OPENCV = "Insufficient memory"
# What an error says that is one of memory: torch on a CPU, cuDNN, cuBLAS, CUDA outside torch's allocator, and OpenCV.
_SIGNS = ("can't allocate memory", "ALLOC_FAILED", "CUDA error: out of memory", "CUDA out of memory", _OPENCV)
# How torch tells that a process which prepares batches has ended, not of errors in it: that comes without its number.
_LOST_WORKER = "DataLoader worker (pid"


@contextmanager
def explained_out_of_memory(params: Params) -> Iterator[None]:
    """Turn running out of memory, of a GPU or of the machine, into an error that says what to lower.

    Raises:
        UserError: naming the keys that decide how much memory a training step, or a process that prepares batches,
            takes, and their values.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ConnectionResetError, cv2.error) as error:
        train, views = params.train, params.views
        if _LOST_WORKER in str(error) or isinstance(error, ConnectionResetError):
            raise UserError(
                f"A process that prepares batches has ended ({_cause(error)}): most likely the machine, or /dev/shm, "
                f"is out of memory. Lower train.workers = {train.workers}, the batches (train.batch_labeled = "
                f"{train.batch_labeled}, train.batch_unlabeled = {train.batch_unlabeled}) or views.crop = "
                f"{list(views.crop)}, or enlarge /dev/shm; train.workers: 0 needs neither. The next start goes on from "
                "the last checkpoint."
            ) from error
        if not is_out_of_memory(error):
            raise
        lighter = ["views.crop", "the batches"]
        lighter += ["train.precision: bf16-mixed"] if train.precision == "32-true" else []
        lighter += ["a larger model.output_stride"] if params.model.output_stride < 32 else []
        raise UserError(
            f"Out of memory at train.batch_labeled = {train.batch_labeled}, train.batch_unlabeled = "
            f"{train.batch_unlabeled}, views.crop = {list(views.crop)}, model.output_stride = "
            f"{params.model.output_stride}, train.precision = {train.precision} "
            f"({_cause(error)}). "
            f"Lower {lighter[0]} or {lighter[1]}" + "".join(f", or try {key}" for key in lighter[2:]) + ". The last "
            "checkpoint stays: with the same values and more free memory, the run goes on from it."
        ) from error


@contextmanager
def explained_on_image(image: Path, size: Sequence[int], params: EvaluateParams) -> Iterator[None]:
    """Turn running out of memory while an image is predicted into an error that says what to lower.

    Raises:
        UserError: naming the image, its `size` (height and width in pixels), and the keys that decide how much of it is
            taken at once.
    """
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        windows = (
            f"lower evaluate.window = {list(params.window)}, too"
            if params.sliding_window
            else "the stage `evaluate`, unlike training, can also go by windows (evaluate.sliding_window: true)"
        )
        raise UserError(
            f"{image}: out of memory while predicting its {'x'.join(map(str, size))} pixels ({_cause(error)}). Set "
            f"dataset.max_side, so that images are made smaller; {windows}."
        ) from error


def _cause(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(". ") if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | cv2.error) and any(sign in str(error) for sign in _SIGNS)
