"""Starting a stage once for each device of this machine, as torchrun does."""

import inspect
import os
import signal
import sys
import uuid
from collections.abc import Collection
from typing import Any

from ucc.config import TrainParams
from ucc.errors import UserError

# How long processes may take for their step and its checkpoint when asked to stop; docker/run waits a little longer.
SECONDS_TO_STOP = 110
# With which a process ends that was itself asked to stop, and not what started it: it has said so and lost nothing.
STATUSES_OF_A_STOP = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}


def must_start_processes(params: TrainParams) -> bool:
    """Whether this is the one process that a user or DVC started, of a training on several devices or with restarts."""
    wanted = params.devices * params.nodes > 1 or params.max_restarts > 0
    return wanted and params.launcher == "torchrun" and "TORCHELASTIC_RUN_ID" not in os.environ


def check_device(params: TrainParams) -> None:
    """Refuse what only a GPU can do where there is none.

    Raises:
        UserError: naming `train.accelerator` or `train.precision`.
    """
    from ucc.inference import choose_device

    if choose_device(params.accelerator).type == "cpu" and params.precision == "16-mixed":
        raise UserError("train.precision = 16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true.")


def start_processes(params: TrainParams) -> None:
    """Run this very command in `train.devices` processes, anew after a failure, up to `train.max_restarts` times.

    Exits with the status of a signal that ended the work, whether it came to this process or to one that it started.

    Raises:
        UserError: if the processes ended with an error, which they have printed, there are several nodes, or no GPU
            where one is asked for.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if params.nodes > 1:
        raise UserError(
            f"train.nodes = {params.nodes}: start the stage on each node under torchrun, as docker/slurm.sh does."
        )
    check_device(params)  # here it is said once, not by each process and then by what started them
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=params.devices,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",  # a container without network cannot look up its own name
        max_restarts=params.max_restarts,
        **_stopping(inspect.signature(LaunchConfig).parameters),
    )
    # Whom to end: of one of its processes torchrun would start another.
    os.environ["UCC_LAUNCHER"] = str(os.getpid())
    try:
        elastic_launch(config, entrypoint=sys.executable)("-u", *sys.argv)
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()}
        if len(statuses) == 1 and statuses <= STATUSES_OF_A_STOP:
            sys.exit(statuses.pop())
        how = ", ".join(f"process {rank}: {_ending(failure.exitcode)}" for rank, failure in error.failures.items())
        raise UserError(
            f"Training (train.devices = {params.devices}) has ended with an error ({how}), which stands above if there "
            "was time to print it. The next start goes on from the last checkpoint."
        ) from None
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)


def _stopping(known: Collection[str]) -> dict[str, Any]:
    """How torchrun is to end its processes, as far as torch's release leaves a choice: before 2.14 it waits 30 s."""
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else this runs under nohup
        numbers.append(signal.SIGHUP)
    wanted = {"shutdown_timeout": SECONDS_TO_STOP, "signals_to_handle": ",".join(number.name for number in numbers)}
    return {name: value for name, value in wanted.items() if name in known}


def _ending(exitcode: int) -> str:
    return f"signal {-exitcode}" if exitcode < 0 else f"status {exitcode}"
