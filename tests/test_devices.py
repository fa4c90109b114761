"""Several devices: as processes on the CPU they do what one does, and the death of one is survived."""

import csv
import errno
import math
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from tiny import TINY, prepare_stage
from torch import Tensor, nn
from torch.distributed.launcher.api import LaunchConfig

import ucc.checkpoints
from ucc.checkpoints import previous
from ucc.config import Params
from ucc.data.batch import Batch
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest, Sample
from ucc.distributed import SyncedBatchNorm, rank, synchronize_batchnorm
from ucc.errors import UserError
from ucc.launch import must_start_processes, start_processes
from ucc.params import load_params
from ucc.runs import data_hash, fingerprint, locked
from ucc.signals import StoppedError
from ucc.training import Trainer, TrainingPaths, train

LoadParams = Callable[..., Params]
ROOT = Path(__file__).resolve().parents[1]
INFO = DatasetInfo("toy", ("road", "car"), ((0, 0, 0), (255, 0, 0)))
# In float64, since in float32 the rounding of two half sums in place of a whole one grows within a few steps, by
# BatchNorm over few values and by pixels that just become hard or change their pseudo label, to what a small error
# would make of it. Logits and losses are float32 all the same; 1e-5 is what their rounding comes to.
TOLERANCE = 1e-5
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
    assert len(first) == len(second) > 0
    for mine, theirs in zip(first, second, strict=True):
        assert mine == pytest.approx(theirs, rel=tolerance, abs=tolerance), mine["step"]
    mine_states, their_states = states(one), states(other)
    assert mine_states.keys() == their_states.keys()
    for name, value in mine_states.items():
        torch.testing.assert_close(value, their_states[name], rtol=tolerance, atol=tolerance, msg=name)


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
# The low rate keeps the rounding of float32 logits from deciding which head is the surer one at any pixel.
TWENTY = ("train.steps=20", "train.lr=0.002", "train.val_every=10", "train.checkpoint_every=7")
FOUR = ("train.steps=4", "train.val_every=2", "train.checkpoint_every=3")


def val_images(manifest: Manifest, count: int) -> Manifest:
    """As many images to validate on, no two alike: one that counts twice, or not at all, changes the scores."""
    pictures = [*manifest.subset("val"), *manifest.subset("labeled")][:count]
    val = [Sample(f"val/{index}", picture.image, picture.mask, "val") for index, picture in enumerate(pictures)]
    return Manifest([*(sample for sample in manifest.samples if sample.subset != "val"), *val])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "val"),
    [
        (("method.name=ucc", *TWENTY), 3),
        (("method.name=ucc", "train.accumulation=2", "method.unlabeled_batchnorm=untracked", *FOUR), 3),
        (("method.name=mean_teacher", "train.accumulation=2", "method.teacher_batchnorm=running", *FOUR), 3),
        (("method.name=cps", "method.unlabeled_batchnorm=separate", *FOUR), 3),
        (("method.name=cct", *FOUR), 3),
        (("method.name=supervised", *FOUR), 1),  # a process without an image to validate on
    ],
    ids=lambda value: value[0].removeprefix("method.name=") if isinstance(value, tuple) else str(value),
)
def test_two_processes_train_as_one(
    changes: tuple[str, ...],
    val: int,
    tmp_path: Path,
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: LoadParams,
) -> None:
    manifest = val_images(tiny_manifest, val)
    one, two = (places(tmp_path / name, tiny_dataset, manifest) for name in ("one", "two"))
    params = [tiny_params(*SMALL, *changes, f"train.devices={devices}") for devices in (1, 2)]
    for each in params:
        each.train.precision = "64-true"
    train(params[0], one)
    run(2, tmp_path / "two", train, params[1], two)
    assert_same_training(one, two)


@pytest.mark.long
def test_two_processes_train_as_one_in_single_precision(
    tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    """GCT, whose detector knows no other; a low rate keeps rounding, which starts at 1e-7, below 1e-3."""
    manifest = val_images(tiny_manifest, 3)
    one, two = (places(tmp_path / name, tiny_dataset, manifest) for name in ("one", "two"))
    changes = (*SMALL, *FOUR, "method.name=gct", "train.lr=1.0e-3")
    train(tiny_params(*changes), one)
    run(2, tmp_path / "two", train, tiny_params(*changes, "train.devices=2"), two)
    for mine, theirs in zip(rows(one.history), rows(two.history), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-3)
    for name, value in states(one).items():
        if not name.startswith("momentum"):
            torch.testing.assert_close(value, states(two)[name], rtol=1e-3, atol=1e-3, msg=name)


def test_two_processes_train_in_lower_precision(
    tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    paths = places(tmp_path, tiny_dataset, tiny_manifest)
    changes = ("train.supervised_warmup=1", "train.unsup_rampup=0", "train.steps=2", "train.precision=bf16-mixed")
    run(2, tmp_path, train, tiny_params(*SMALL, *changes, "train.devices=2"), paths)
    history = rows(paths.history)
    assert [row["step"] for row in history] == [1, 2]
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert all(value.dtype != torch.bfloat16 for value in states(paths).values())


def test_a_run_goes_on_with_another_number_of_devices_but_not_of_parts(tiny_params: LoadParams) -> None:
    assert fingerprint(tiny_params(*SMALL), "", INFO) == fingerprint(tiny_params(*SMALL, "train.devices=2"), "", INFO)
    assert fingerprint(tiny_params(*SMALL), "", INFO) != fingerprint(
        tiny_params(*SMALL, "train.accumulation=2"), "", INFO
    )


def report(params: Params, paths: TrainingPaths) -> None:
    """Train, and report an error as a stage does."""
    try:
        train(params, paths)
    except UserError as error:
        sys.exit(f"error: {error}")


def failed(folder: Path, params: Params, paths: TrainingPaths) -> str:
    """What two processes say that all end with status 1."""
    processes = start(2, folder, report, params, paths)
    for process in processes:
        process.join(120)
    said = "".join(log.read_text() for log in sorted(folder.glob("log*")))
    assert [process.exitcode for process in processes] == [1, 1], said
    assert "Traceback" not in said
    assert said.count("error: ") == 1, said
    return said.partition("error: ")[2]


def test_an_error_is_said_once_however_many_processes_meet_it(
    tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    two = ("train.devices=2", "method.name=supervised", *SMALL, *FOUR)
    paths = places(tmp_path / "diverging", tiny_dataset, tiny_manifest)
    diverging = tiny_params(*two)
    diverging.train.lr = 1e30  # more than params.yaml may say, so that it shows at once
    assert "lower train.lr" in failed(tmp_path / "1", diverging, paths)
    paths = places(tmp_path / "locked", tiny_dataset, tiny_manifest)
    info = DatasetInfo.read(tiny_dataset)
    with locked(paths.runs / fingerprint(tiny_params(*two), data_hash(tiny_dataset, tiny_manifest), info)):
        assert f"process {os.getpid()} is training this very run" in failed(tmp_path / "2", tiny_params(*two), paths)
    one = tiny_params(*two, "train.devices=1")
    assert "torchrun started 2 processes" in failed(tmp_path / "3", one, paths)


def test_a_batch_that_the_devices_cannot_share_is_refused_before_anything_starts(tiny_params: LoadParams) -> None:
    with pytest.raises(UserError, match=r"train\.batch_labeled = 4 .* = 2 x 1 x 3 = 6"):
        tiny_params(*SMALL, "train.devices=2", "train.accumulation=3")
    with pytest.raises(UserError, match=r"accumulation = 4 leaves one image of train\.batch_labeled"):
        tiny_params(*SMALL, "train.accumulation=4")


# The stage, of which the second process is killed in the midst of the eighth step, the first time.
FATAL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {pipeline!r})
import train as stage
from ucc.distributed import rank
from ucc.stage import run_stage
from ucc.training import Trainer

inner = Trainer._gradients

def gradients(self, batch, step):
    if step == 7 and rank() == 1 and not Path("died").exists():
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
    (tmp_path / "fatal.py").write_text(FATAL.format(pipeline=str(ROOT / "pipeline")))
    return tmp_path


def stage(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the stage by a command such as `python`; it ends within two minutes or not at all."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
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


def test_the_launcher_gives_its_processes_the_time_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[LaunchConfig] = []

    def note(config: LaunchConfig, entrypoint: str) -> Callable[..., None]:  # noqa: ARG001
        given.append(config)
        return lambda *_: None

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", note)
    two = load_params(ROOT / "params.yaml", [*TINY, "train.devices=2"]).train
    start_processes(two)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        start_processes(two)
    finally:
        signal.signal(signal.SIGHUP, before)
    usual, nohup = given
    assert 30 < getattr(usual, "shutdown_timeout", 110) < docker_run_seconds()
    assert set(usual.signals_to_handle.split(",")) == {"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"}
    assert set(nohup.signals_to_handle.split(",")) == {"SIGTERM", "SIGINT", "SIGQUIT"}


def docker_run_seconds() -> int:
    (found,) = re.findall(r"^SECONDS_TO_STOP = (\d+)", (ROOT / "docker/run").read_text(encoding="utf-8"), re.MULTILINE)
    return int(found)


def test_a_stage_started_on_several_devices_starts_itself_anew_for_each(
    tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    two = tiny_params(*SMALL, "train.devices=2").train
    assert must_start_processes(two)
    assert not must_start_processes(tiny_params(*SMALL).train)
    assert not must_start_processes(tiny_params(*SMALL, "train.devices=2", "train.launcher=fabric").train)
    with pytest.raises(UserError, match=r"train\.nodes = 2: start the stage on each node"):
        start_processes(tiny_params(*SMALL, "train.nodes=2").train)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert not must_start_processes(two)


@pytest.mark.parametrize("more", [(), ("train.devices=2",)], ids=["one device", "two devices"])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train.accelerator=cuda", "train.accelerator = cuda, but PyTorch finds no CUDA device here"),
        ("train.precision=16-mixed", "train.precision = 16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true."),
    ],
)
def test_what_only_a_gpu_can_do_is_refused_in_one_line_without_one(
    more: tuple[str, ...], key: str, message: str, tmp_path: Path
) -> None:
    code = (
        "from ucc.devices import joined_devices\n"
        "from ucc.launch import must_start_processes, start_processes\n"
        "from ucc.stage import run_stage\n"
        "def main(params):\n"
        "    if must_start_processes(params.train): return start_processes(params.train)\n"
        "    with joined_devices(params.train, False): pass\n"
        "run_stage(main)\n"
    )
    script = tmp_path / "train.py"
    script.write_text(code)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    done = subprocess.run(
        [sys.executable, str(script), *TINY, *more, key],
        cwd=tmp_path,
        env=environment | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_synchronised_batchnorm_keeps_the_names_of_the_state() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    synchronize_batchnorm(module, torch.device("cpu"))
    assert isinstance(module[1][0], SyncedBatchNorm)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    synchronize_batchnorm(module, torch.device("cuda"))
    assert isinstance(module[1][0], nn.SyncBatchNorm)
    assert module.state_dict().keys() == before.keys()


def test_synchronised_batchnorm_of_half_precision_is_that_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two processes had the same images: the statistics are those of the batch twice over."""
    monkeypatch.setattr("ucc.distributed.world", lambda: 2)
    monkeypatch.setattr("ucc.distributed.gathered", lambda value: torch.stack([value, value]))
    # A mean far from 0, of which bfloat16 keeps three digits at most.
    images = (300 + torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    synced, plain = SyncedBatchNorm(3), nn.BatchNorm2d(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = synced(images)
    expected = plain(torch.cat([images, images]).float())[:4]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-3)  # the rounding of the result alone
    torch.testing.assert_close(synced.running_mean, plain.running_mean)
    torch.testing.assert_close(synced.running_var, plain.running_var)
