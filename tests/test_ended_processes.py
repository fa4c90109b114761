"""One of several processes dies, is stopped or cannot write: the others end too, and the next start goes on."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from joined import SMALL, run, start
from tiny import REPOSITORY, TINY, prepare_stage
from torch import Tensor
from trainings import places

import ucc.checkpoints
from ucc.checkpoints import previous
from ucc.config import Params
from ucc.data.batch import Batch
from ucc.data.manifest import Manifest
from ucc.distributed import rank
from ucc.signals import StoppedError
from ucc.training import Trainer, TrainingPaths, train

LoadParams = Callable[..., Params]

# The stage, of which the last process is killed in the midst of the eighth step, the first time.
FATAL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {pipeline!r})
import train as stage
from ucc.distributed import rank, world
from ucc.stage import run_stage
from ucc.training import Trainer

inner = Trainer._gradients

def gradients(self, batch, step):
    if step == 7 and rank() == world() - 1 and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(self, batch, step)

Trainer._gradients = gradients
if __name__ == "__main__":
    run_stage(stage.main, wait=False)
"""
TEN = ("method.name=supervised", "train.steps=10", "train.val_every=5", "train.checkpoint_every=3", "train.devices=2")


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> TrainingPaths:
    """A training by two processes that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    paths = places(folder, tiny_dataset, tiny_manifest)
    run(2, folder, train, tiny_params(*SMALL, *TEN), paths)
    return paths


@pytest.fixture
def project(tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest) -> Path:
    """A folder in which the stage `train` runs."""
    prepare_stage(tmp_path, tiny_dataset, tiny_manifest)
    (tmp_path / "fatal.py").write_text(FATAL.format(pipeline=str(REPOSITORY / "pipeline")))
    return tmp_path


def stage(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the stage by a command such as `python`; it ends within two minutes or not at all."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def assert_ended_like(undisturbed: TrainingPaths, project: Path) -> None:
    (checkpoint,) = project.glob("runs/*/checkpoint.pt")
    (expected,) = undisturbed.runs.glob("*/checkpoint.pt")
    mine, theirs = (torch.load(path, weights_only=True)["method"] for path in (checkpoint, expected))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["torchrun", "fabric"])
def test_the_death_of_a_process_ends_the_training_and_the_next_start_goes_on(
    launcher: str, project: Path, undisturbed: TrainingPaths, tiny_params: LoadParams
) -> None:
    command = ("fatal.py", *TINY, *SMALL, *TEN, f"train.launcher={launcher}")
    first = stage(project, *command)
    assert first.returncode != 0
    assert first.stdout.count("Traceback") == 0, first.stdout
    if launcher == "torchrun":
        assert "process 1: signal 9" in first.stdout
    run(2, project / "second", train, tiny_params(*SMALL, *TEN), replace(undisturbed, runs=project / "runs"))
    assert "going on after step 6" in (project / "second/log0").read_text()
    assert_ended_like(undisturbed, project)


@pytest.mark.slow
def test_torchrun_recovers_by_itself(project: Path, undisturbed: TrainingPaths) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    done = stage(project, *torchrun, "fatal.py", *TINY, *SMALL, *TEN)
    assert done.returncode == 0, done.stdout
    assert (project / "died").exists()
    assert "going on after step 6" in done.stdout
    assert_ended_like(undisturbed, project)
    assert (project / "models/final.pt").exists()


@pytest.mark.slow
def test_one_process_is_started_anew_as_well_and_ends_with_the_same_weights(
    project: Path, tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    paths = places(tmp_path / "undisturbed", tiny_dataset, tiny_manifest)
    train(tiny_params(*SMALL, *TEN, "train.devices=1"), paths)
    done = stage(project, "fatal.py", *TINY, *SMALL, *TEN, "train.devices=1", "train.max_restarts=1")
    assert done.returncode == 0, done.stdout
    assert (project / "died").exists()
    assert "going on after step 6" in done.stdout
    assert_ended_like(paths, project)


def full(path: Path, _: object) -> None:
    time.sleep(0.5)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def stopped_in_one(params: Params, paths: TrainingPaths, disk_full: bool = False) -> None:
    """Train; the second process alone gets a SIGTERM, in the third step. On a disk that is full the first one fails."""
    inner = Trainer._gradients

    def gradients(self: Trainer, batch: Batch, step: int) -> list[dict[str, Tensor]]:
        if step == 2 and rank() == 1:
            signal.raise_signal(signal.SIGTERM)
        return inner(self, batch, step)

    Trainer._gradients = gradients  # type: ignore[method-assign]
    if disk_full:
        ucc.checkpoints.write_torch = full
    try:
        train(params, paths)
    except OSError as error:
        sys.exit(f"error: {error}")
    except StoppedError as stopped:
        print(stopped, flush=True)
        sys.exit(stopped.status)


def test_a_signal_to_one_process_ends_all_after_the_same_step_and_the_next_start_goes_on(
    undisturbed: TrainingPaths, tmp_path: Path, tiny_params: LoadParams
) -> None:
    paths = places(tmp_path, undisturbed.dataset, Manifest.read(undisturbed.manifest))
    params = tiny_params(*SMALL, *TEN, "train.checkpoint_every=100", "train.log_every=5")
    processes = start(2, tmp_path / "first", stopped_in_one, params, paths)
    for process in processes:
        process.join()
    said = "".join(log.read_text() for log in sorted((tmp_path / "first").glob("log*")))
    assert [process.exitcode for process in processes] == [128 + signal.SIGTERM] * 2, said
    assert said.count("SIGTERM: stopped after step 3") == 1, said
    (checkpoint,) = paths.runs.glob("*/checkpoint.pt")
    shutil.copy(checkpoint, previous(checkpoint))
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    run(2, tmp_path / "second", train, params, paths)
    said = "".join(log.read_text() for log in sorted((tmp_path / "second").glob("log*")))
    assert said.count("is damaged; going on from") == 1
    assert "going on after step 3" in said
    assert_ended_like(undisturbed, tmp_path)


def test_no_process_tells_of_a_checkpoint_that_the_first_one_could_not_write(
    tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    paths = places(tmp_path, tiny_dataset, tiny_manifest)
    params = tiny_params(*SMALL, *TEN, "train.checkpoint_every=100")
    processes = start(2, tmp_path / "logs", stopped_in_one, params, paths, True)
    for process in processes:
        process.join(120)
    said = "".join(log.read_text() for log in sorted((tmp_path / "logs").glob("log*")))
    assert "No space left on device" in said
    assert "stopped after" not in said
    assert [process.exitcode for process in processes] == [1, 1], said
