"""On which devices a training runs: Lightning Fabric, set up from `train`'s keys, and its processes joined."""

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ucc.config import TrainParams
from ucc.errors import UserError
from ucc.inference import choose_device
from ucc.launch import check_device

# How long an exchange may wait for a process that hangs; one that dies is noticed at once. The first process hashes
# all data while the others wait.
PATIENCE = timedelta(minutes=30)
# Since torch 2.13 the former name of the argument is deprecated.
_NAMES = inspect.signature(DistributedDataParallel).parameters
SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers"


@contextmanager
def joined_devices(params: TrainParams, idle_parameters: bool) -> Iterator[Fabric]:
    """Fabric on `train.devices` of `train.nodes`, the processes joined.

    Processes that exist already, such as torchrun's, are found; else Fabric starts them, and they end with this one.

    Args:
        idle_parameters: whether there are steps in which some trained parameters have no part.

    Raises:
        UserError: if there are other processes or fewer devices than the keys say, or no GPU where one is asked for.
    """
    try:
        check_device(params)
    except UserError as error:
        _refuse(str(error))
    processes = params.devices * params.nodes
    if torch.distributed.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) != processes:
        _refuse(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, and train.devices x train.nodes = "
            f"{params.devices} x {params.nodes} = {processes}: set both to what torchrun is told."
        )
    # The gradients of a step are all the processes exchange: BatchNorm's buffers are equal everywhere as they are.
    options: dict[str, Any] = {"find_unused_parameters": idle_parameters, SYNC_BUFFERS: False}
    ddp = DDPStrategy(timeout=PATIENCE, **options)
    try:
        fabric = Fabric(
            accelerator=choose_device(params.accelerator).type,  # auto would be more to Fabric, such as a Mac's GPU
            devices=params.devices,
            num_nodes=params.nodes,
            strategy=ddp if processes > 1 else "auto",
            precision=cast(Any, params.precision),  # Fabric's type is a closed list of literals
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:  # the latter where SLURM was told otherwise
        _refuse(_setup(params, error))
    try:
        if processes > 1:
            if torch.distributed.is_torchelastic_launched() and params.nodes == 1:
                _join_attempt(fabric.device)
            _require_start_on_each_node(fabric, params)
            try:
                fabric.launch()
            except (ValueError, torch.distributed.DistError) as error:  # of SLURM, too; of nodes that never came
                _refuse(_setup(params, error))
        yield fabric
    except BaseException:
        # Fabric ends the training when a process that it started dies, but not these with the first one.
        launcher = fabric.strategy.launcher
        for child in launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else ():
            child.kill()
        raise


def _require_start_on_each_node(fabric: Fabric, params: TrainParams) -> None:
    """Else the first node would wait for the others, which nobody starts, until patience ends."""
    environment = cast(Any, fabric.strategy).cluster_environment
    if params.nodes > 1 and isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ:
        _refuse(
            f"train.nodes = {params.nodes}: start the stage on each node, under srun or torchrun as docker/slurm.sh "
            "does, or with MASTER_ADDR, MASTER_PORT and NODE_RANK set."
        )


def _join_attempt(device: torch.device) -> None:
    """Join torchrun's processes before Fabric would, under names of their own for each restart.

    torchrun keeps its store from start to start, and a process that finds the addresses there of those that have ended
    fails to reach them. On several nodes restarts are counted differently; there docker/slurm.sh asks for a new store.
    """
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store),
        rank=rank,
        world_size=world,
        timeout=PATIENCE,
        device_id=device if cuda else None,
    )


def _setup(params: TrainParams, error: Exception) -> str:
    return f"train.devices = {params.devices}, train.accelerator = {params.accelerator}: {str(error).strip()}"


def _refuse(message: str) -> NoReturn:
    """Say it once: before the processes are joined, all of them find the same."""
    if os.environ.get("RANK", "0") != "0":
        sys.exit(1)
    raise UserError(message)
