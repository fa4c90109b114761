"""Running out of memory says what takes it and what to lower."""

from collections.abc import Callable

import pytest
import torch

from ucc.config import Params
from ucc.errors import UserError
from ucc.memory import explained_out_of_memory

LoadParams = Callable[..., Params]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["GPU", "Python", "CPU", "cuDNN"],
)
def test_batch_and_crop_are_named_with_what_to_lower(error: Exception, tiny_params: LoadParams) -> None:
    with pytest.raises(UserError) as explained, explained_out_of_memory(tiny_params("train.batch_unlabeled=6")):
        raise error
    message = str(explained.value)
    for part in (
        "train.batch_labeled = 2",
        "train.batch_unlabeled = 6",
        "views.crop = [32, 32]",
        "Lower views.crop or the batches",
        "train.precision: bf16-mixed",
        "larger model.output_stride",
        "checkpoint stays",
    ):
        assert part in message
    assert "\n" not in message


def test_torch_itself_says_it_in_one_of_these_ways(tiny_params: LoadParams) -> None:
    with pytest.raises(UserError, match="Out of memory at"), explained_out_of_memory(tiny_params()):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_what_has_been_lowered_already_is_not_proposed(tiny_params: LoadParams) -> None:
    params = tiny_params("train.precision=bf16-mixed", "model.output_stride=32")
    with pytest.raises(UserError) as explained, explained_out_of_memory(params):
        raise MemoryError
    assert "or try" not in str(explained.value)


def test_other_errors_pass(tiny_params: LoadParams) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"), explained_out_of_memory(tiny_params()):
        raise RuntimeError("size mismatch")
