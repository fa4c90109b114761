"""Processes on the CPU that train together, as torchrun would start them on devices."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from trainings import PROCESSES

SMALL = (
    "train.batch_labeled=4",
    "train.batch_unlabeled=4",
    "train.supervised_warmup=2",
    "train.unsup_rampup=1",
    "model.dropout=0",
    "method.ohem.enabled=true",
    # Fewer pixels are below the threshold than are to be kept, and fewer of one part or process than of all.
    "method.ohem.threshold=0.05",
    "method.ohem.min_kept=200000",
    "method.copy_paste.mode=dcscp",
    "method.cct.perturbations=[feature_noise,feature_drop]",
)


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
