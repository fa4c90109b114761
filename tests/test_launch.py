"""Starting a stage once for each device, and what is refused before."""

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import REPOSITORY, TINY
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig

from ucc.stage import run_stage
from ucc.config import Params
from ucc.devices import joined_devices
from ucc.errors import UserError
from ucc.launch import must_start_processes, start_processes
from ucc.params import load_params

LoadParams = Callable[..., Params]


@pytest.mark.usefixtures("hangup")
def test_the_launcher_gives_its_processes_the_time_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[LaunchConfig] = []

    def note(config: LaunchConfig, entrypoint: str) -> Callable[..., None]:  # noqa: ARG001
        given.append(config)
        return lambda *_: None

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", note)
    two = load_params(REPOSITORY / "params.yaml", [*TINY, "train.devices=2"]).train
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
    (found,) = re.findall(
        r"^SECONDS_TO_STOP = (\d+)", (REPOSITORY / "docker/run").read_text(encoding="utf-8"), re.MULTILINE
    )
    return int(found)


def test_a_stage_started_on_several_devices_starts_itself_anew_for_each(
    tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    two = tiny_params("train.devices=2").train
    assert must_start_processes(two)
    assert must_start_processes(tiny_params("train.max_restarts=1").train)
    assert not must_start_processes(tiny_params().train)
    assert not must_start_processes(tiny_params("train.devices=2", "train.launcher=fabric").train)
    with pytest.raises(UserError, match=r"train\.nodes = 2: start the stage on each node"):
        start_processes(tiny_params("train.nodes=2").train)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert not must_start_processes(two)


def end_with(*statuses: int) -> Callable[..., Callable[..., None]]:
    """A launcher, all of whose processes have failed with these statuses."""

    def run(*_: str) -> None:
        failures = {rank: ProcessFailure(rank, 4711, status, "") for rank, status in enumerate(statuses)}
        raise ChildFailedError("train.py", failures)

    return lambda *_, **__: run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_process_that_was_asked_to_stop_is_not_an_error(
    number: signal.Signals, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", end_with(128 + number, 128 + number))
    with pytest.raises(SystemExit) as ended:
        start_processes(tiny_params("train.devices=2").train)
    assert ended.value.code == 128 + number


@pytest.mark.parametrize(
    ("statuses", "named"),
    [
        ((1,), r"process 0: status 1\)"),
        ((-signal.SIGTERM,), r"process 0: signal 15\)"),  # it had no time for a checkpoint
        ((143, 1), r"process 0: status 143, process 1: status 1\)"),
    ],
)
def test_a_process_that_failed_is_named_with_how_it_ended(
    statuses: tuple[int, ...], named: str, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", end_with(*statuses))
    with pytest.raises(UserError, match=named):
        start_processes(tiny_params("train.devices=2").train)


def launch(params: Params) -> None:
    if must_start_processes(params.train):
        return start_processes(params.train)
    with joined_devices(params.train, idle_parameters=False):
        pytest.fail("joined")


@pytest.mark.parametrize("more", [(), ("train.devices=2",)], ids=["one device", "two devices"])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train.accelerator=cuda", "train.accelerator = cuda, but PyTorch finds no CUDA device here"),
        ("train.precision=16-mixed", "train.precision = 16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true."),
    ],
)
def test_what_only_a_gpu_can_do_is_refused_in_one_line_before_any_process_is_started(
    more: tuple[str, ...],
    key: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setattr("sys.argv", ["train.py", *TINY, *more, key])
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_stage(launch)
    assert str(ended.value).startswith(f"error: {message}")
    assert len(str(ended.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")
