"""Several devices: as processes on the CPU they do what one does, and the death of one is survived."""

import csv
import multiprocessing
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.distributed import SyncedBatchNorm, denominator, gather, synchronize_batchnorm
from ucc.errors import UserError
from ucc.losses import IGNORE, mean_cross_entropy, ohem_cross_entropy
from ucc.models.modes import untracked_batchnorm
from ucc.training import TrainingPaths, train

LoadParams = Callable[..., Params]
ROOT = Path(__file__).resolve().parents[1]
STEPS = 20
# Sums over the halves of a batch round differently from sums over the batch, by some 1e-7 of their size in float32;
# BatchNorm over few values and 20 steps of SGD make more of it.
TOLERANCE = 1e-3
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["ucc.training"])


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def in_process(
    rank: int, world: int, port: int, log: Path, work: Callable[..., None], arguments: Sequence[object]
) -> None:
    """What each process runs: `work(*arguments)` in the environment that torchrun would give it."""
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - a descriptor, kept to the end
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    work(*arguments)


def start(world: int, folder: Path, work: Callable[..., None], *arguments: object) -> list[ForkServerProcess]:
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    processes = [
        PROCESSES.Process(target=in_process, args=(rank, world, port, folder / f"log{rank}", work, arguments))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def run(world: int, folder: Path, work: Callable[..., None], *arguments: object) -> None:
    """Run `work` in `world` processes, all of which must succeed."""
    processes = start(world, folder, work, *arguments)
    for process in processes:
        process.join()
    said = "\n".join(log.read_text() for log in sorted(folder.glob("log*")))
    assert [process.exitcode for process in processes] == [0] * world, said


def places(folder: Path, dataset: Path, manifest: Manifest) -> TrainingPaths:
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder / "manifest.csv")
    return TrainingPaths(
        dataset=dataset,
        manifest=folder / "manifest.csv",
        runs=folder / "runs",
        final=folder / "final.pt",
        best=folder / "best.pt",
        history=folder / "history.csv",
        confidence=folder / "confidence.csv",
        metrics=folder / "metrics.json",
    )


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as table:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(table)]


def states(paths: TrainingPaths) -> dict[str, Tensor]:
    """All of the last checkpoint that is a tensor: method, momentum."""
    (checkpoint,) = paths.runs.glob("*/checkpoint.pt")
    content = torch.load(checkpoint, weights_only=True)
    momenta = {f"momentum {i}": s["momentum_buffer"] for i, s in content["optimizer"]["state"].items()}
    return {**content["method"], **momenta}


def assert_same_training(one: TrainingPaths, other: TrainingPaths, tolerance: float = TOLERANCE) -> None:
    """Equal histories, scores on val, weights, running statistics and momentum."""
    first, second = rows(one.history), rows(other.history)
    assert len(first) == len(second) == STEPS
    for mine, theirs in zip(first, second, strict=True):
        assert mine.keys() == theirs.keys()
        assert mine == pytest.approx(theirs, rel=10 * tolerance, abs=tolerance), mine["step"]
    mine_states, their_states = states(one), states(other)
    assert mine_states.keys() == their_states.keys()
    for name, value in mine_states.items():
        torch.testing.assert_close(value, their_states[name], rtol=10 * tolerance, atol=tolerance, msg=name)


TWENTY = (
    f"train.steps={STEPS}",
    "train.val_every=10",
    "train.checkpoint_every=5",
    "train.batch_labeled=4",
    "train.batch_unlabeled=4",
    "train.supervised_warmup=4",
    "train.unsup_rampup=2",
    "model.dropout=0",
    "method.ohem.enabled=true",
    "method.ohem.threshold=0.3",
    "method.ohem.min_kept=30000",
    "method.copy_paste.mode=dcscp",
    "method.cct.perturbations=[feature_noise,feature_drop]",
)


@pytest.fixture(scope="module")
def odd_manifest(tiny_manifest: Manifest) -> Manifest:
    """Three images to validate on, which two processes cannot share equally."""
    labeled = tiny_manifest.subset("labeled")[0]
    third = type(labeled)("val/third", labeled.image, labeled.mask, "val")
    return Manifest([*tiny_manifest.samples, third])


@pytest.mark.parametrize(
    "changes",
    [
        ("method.name=ucc",),
        ("method.name=ucc", "method.unlabeled_batchnorm=untracked", "method.teacher_batchnorm=running"),
        ("method.name=ucc", "train.accumulation=2", "method.unlabeled_batchnorm=separate"),
        ("method.name=mean_teacher", "train.accumulation=2"),
        ("method.name=cps",),
        ("method.name=cct",),
        ("method.name=gct",),
        ("method.name=supervised",),
    ],
    ids=lambda changes: " ".join(change.split("=")[1] for change in changes),
)
def test_two_processes_train_as_one(
    changes: tuple[str, ...], tmp_path: Path, tiny_dataset: Path, odd_manifest: Manifest, tiny_params: LoadParams
) -> None:
    one, two = (places(tmp_path / name, tiny_dataset, odd_manifest) for name in ("one", "two"))
    train(tiny_params(*TWENTY, *changes), one)
    run(2, tmp_path / "two", train, tiny_params(*TWENTY, *changes, "train.devices=2"), two)
    assert_same_training(one, two)
