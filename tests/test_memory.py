"""Running out of memory says what takes it and what to lower."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ucc.config import Params
from ucc.errors import UserError
from ucc.memory import explained_on_image, explained_out_of_memory

LoadParams = Callable[..., Params]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        cv2.error("OpenCV(4.14) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 885 bytes"),
    ],
    ids=["GPU", "Python", "CPU", "cuDNN", "OpenCV"],
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


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
        RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=["killed", "found dead", "while it handed over"],
)
def test_a_lost_worker_names_what_makes_fewer_and_smaller_ones(error: Exception, tiny_params: LoadParams) -> None:
    with pytest.raises(UserError) as explained, explained_out_of_memory(tiny_params("train.workers=3")):
        raise error
    for part in ("Lower train.workers = 3", "train.batch_labeled = 2", "views.crop = [32, 32]", "enlarge /dev/shm"):
        assert part in str(explained.value)


def test_a_worker_that_the_kernel_kills_is_one_of_these(tiny_params: LoadParams) -> None:
    loader = DataLoader(Deadly(), batch_size=None, num_workers=1)
    with (
        pytest.raises(UserError, match=r"DataLoader worker \(pid.*train\.workers = 0"),
        explained_out_of_memory(tiny_params()),
    ):
        list(loader)


class Deadly(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


@pytest.mark.parametrize(
    ("windows", "remedy"), [(True, r"lower evaluate\.window = \[64, 64\]"), (False, r"evaluate\.sliding_window: true")]
)
def test_an_image_that_is_too_large_to_predict_is_named_with_what_makes_it_smaller(
    windows: bool, remedy: str, tiny_params: LoadParams
) -> None:
    params = replace(tiny_params().evaluate, sliding_window=windows, window=[64, 64])
    message = rf"val/a\.png: out of memory .*1024x2048 pixels \(CUDA out of memory\).*dataset\.max_side.*{remedy}"
    with pytest.raises(UserError, match=message), explained_on_image(Path("val/a.png"), (1024, 2048), params):
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("text", ["size mismatch", "Caught RuntimeError in DataLoader worker process 0."])
def test_other_errors_pass(text: str, tiny_params: LoadParams) -> None:
    with pytest.raises(RuntimeError, match=text), explained_out_of_memory(tiny_params()):
        raise RuntimeError(text)
