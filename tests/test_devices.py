"""Several devices: as processes on the CPU they do what one does, and an error is said once."""

import math
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from joined import SMALL, run, start
from torch import Tensor
from trainings import places, rows

from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest, Sample
from ucc.devices import joined_devices
from ucc.errors import UserError
from ucc.runs import data_hash, fingerprint, locked
from ucc.training import TrainingPaths, train

LoadParams = Callable[..., Params]
INFO = DatasetInfo("toy", ("road", "car"), ((0, 0, 0), (255, 0, 0)))
# In float64, since in float32 the rounding of two half sums in place of a whole one grows within a few steps, by
# BatchNorm over few values and by pixels that just become hard or change their pseudo label, to what a small error
# would make of it. Logits and losses are float32 all the same; 1e-5 is what their rounding comes to.
TOLERANCE = 1e-5


def figures(path: Path) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in row.items() if value} for row in rows(path)]


def states(paths: TrainingPaths) -> dict[str, Tensor]:
    """All of the last checkpoint that is a tensor: method, momentum."""
    (checkpoint,) = paths.runs.glob("*/checkpoint.pt")
    content = torch.load(checkpoint, weights_only=True)
    momenta = {f"momentum {i}": s["momentum_buffer"] for i, s in content["optimizer"]["state"].items()}
    return {**content["method"], **momenta}


def assert_same_training(one: TrainingPaths, other: TrainingPaths, tolerance: float = TOLERANCE) -> None:
    """Equal histories, scores on val, weights, running statistics and momentum."""
    first, second = figures(one.history), figures(other.history)
    assert len(first) == len(second) > 0
    for mine, theirs in zip(first, second, strict=True):
        assert mine == pytest.approx(theirs, rel=tolerance, abs=tolerance), mine["step"]
    mine_states, their_states = states(one), states(other)
    assert mine_states.keys() == their_states.keys()
    for name, value in mine_states.items():
        torch.testing.assert_close(value, their_states[name], rtol=tolerance, atol=tolerance, msg=name)


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
    for mine, theirs in zip(figures(one.history), figures(two.history), strict=True):
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
    history = figures(paths.history)
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


@pytest.mark.parametrize(
    ("job", "changes"),
    [
        ({"SLURM_NTASKS": "4"}, ()),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, ("train.devices=2", "train.launcher=fabric")),
        ({"SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, ("train.devices=2", "train.launcher=fabric")),
    ],
)
def test_a_slurm_job_of_other_tasks_than_devices_is_refused(
    job: dict[str, str], changes: tuple[str, ...], tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        {"SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"} | job
    ).items():
        monkeypatch.setenv(name, value)
    train_params = tiny_params(*SMALL, "train.accelerator=cpu", *changes).train
    with (
        pytest.raises(UserError, match=rf"train\.devices = {train_params.devices}, train\.accelerator = cpu: You set"),
        joined_devices(train_params, False),
    ):
        pass


def test_a_node_does_not_wait_for_others_that_nobody_starts(
    tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    params = tiny_params(*SMALL, "train.accelerator=cpu", "train.nodes=2", "train.launcher=fabric").train
    with pytest.raises(UserError, match=r"nodes = 2: start the stage on each node"), joined_devices(params, False):
        pass


def test_nodes_that_did_not_come_are_told_in_one_line(tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0"), ("NODE_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ucc.devices.PATIENCE", timedelta(seconds=1))
    params = tiny_params(*SMALL, "train.accelerator=cpu", "train.nodes=2", "train.launcher=fabric").train
    with pytest.raises(UserError, match=r"train\.devices = 1, .*[Tt]imed out"), joined_devices(params, False):
        pass


def test_auto_is_the_cpu_where_there_is_another_accelerator_than_cuda(
    tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("lightning.fabric.accelerators.mps.MPSAccelerator.is_available", lambda: True)
    with joined_devices(tiny_params("train.accelerator=auto").train, False) as fabric:
        assert fabric.device.type == "cpu"


def test_a_batch_that_the_devices_cannot_share_is_refused_before_anything_starts(tiny_params: LoadParams) -> None:
    with pytest.raises(UserError, match=r"train\.batch_labeled = 4 .* = 2 x 1 x 3 = 6"):
        tiny_params(*SMALL, "train.devices=2", "train.accumulation=3")
    with pytest.raises(UserError, match=r"accumulation = 4 leaves one image of train\.batch_labeled"):
        tiny_params(*SMALL, "train.accumulation=4")


def test_restarts_are_refused_where_nothing_would_make_them(tiny_params: LoadParams) -> None:
    with pytest.raises(UserError, match=r"train\.max_restarts = 2 is for train\.launcher = torchrun"):
        tiny_params("train.max_restarts=2", "train.launcher=fabric")
