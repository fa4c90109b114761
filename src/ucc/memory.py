"""When memory runs out: what takes it, and what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ucc.config import Params
from ucc.errors import UserError

# What a RuntimeError says that is one of memory: torch on a CPU, cuDNN, cuBLAS, and CUDA outside torch's allocator.
_SIGNS = ("can't allocate memory", "ALLOC_FAILED", "CUDA error: out of memory", "CUDA out of memory")


@contextmanager
def explained_out_of_memory(params: Params) -> Iterator[None]:
    """Turn running out of memory, of a GPU or of the machine, into an error that says what to lower.

    Raises:
        UserError: naming the keys that decide how much memory a training step takes, and their values.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        train, views = params.train, params.views
        lighter = ["views.crop", "the batches"]
        lighter += ["train.precision: bf16-mixed"] if train.precision == "32-true" else []
        lighter += ["a larger model.output_stride"] if params.model.output_stride < 32 else []
        raise UserError(
            f"Out of memory at train.batch_labeled = {train.batch_labeled}, train.batch_unlabeled = "
            f"{train.batch_unlabeled}, views.crop = {list(views.crop)}, model.output_stride = "
            f"{params.model.output_stride}, train.precision = {train.precision} "
            f"({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}). "
            f"Lower {lighter[0]} or {lighter[1]}" + "".join(f", or try {key}" for key in lighter[2:]) + ". The last "
            "checkpoint stays: with the same values and more free memory, the run goes on from it."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
