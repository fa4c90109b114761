import errno
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.runs import code_version, data_hash, fingerprint, locked, outputs_locked
from ucc.signals import StoppedError, stop_request

LoadParams = Callable[..., Params]
INFO = DatasetInfo("toy", ("road", "car"), ((0, 0, 0), (255, 0, 0)), {"seed": 1})
START = "00112233"


@pytest.mark.parametrize(
    "change",
    [
        "train.lr=0.03",
        "train.seed=1",
        "train.steps=13",
        "train.val_every=6",
        "train.precision=bf16-mixed",
        "model.dropout=0.2",
        "views.crop=[48,32]",
        "method.name=supervised",
        "method.uncertainty.rule=as_printed",
    ],
)
def test_what_changes_the_result_makes_another_run(change: str, tiny_params: LoadParams) -> None:
    assert fingerprint(tiny_params(change), START, INFO) != fingerprint(tiny_params(), START, INFO)


@pytest.mark.parametrize(
    "change",
    ["train.workers=3", "train.checkpoint_every=7", "evaluate.panels=1", "export.opset=19", "partition.seed=9"],
)
def test_what_cannot_change_the_result_stays_in_the_run(change: str, tiny_params: LoadParams) -> None:
    assert fingerprint(tiny_params(change), START, INFO) == fingerprint(tiny_params(), START, INFO)


def test_other_samples_classes_or_origins_make_another_run(tiny_params: LoadParams) -> None:
    params = tiny_params()
    own = fingerprint(params, START, INFO)
    others = [
        fingerprint(params, "another", INFO),
        fingerprint(params, START, replace(INFO, classes=("car", "road"))),
        fingerprint(params, START, replace(INFO, provenance={"seed": 2})),
        fingerprint(params, START, replace(INFO, provenance={"drawn on": date(2024, 5, 1)})),  # as YAML reads it
    ]
    assert len({own, *others}) == 5


def test_start_weights_count_by_their_content(tmp_path: Path, tiny_params: LoadParams) -> None:
    for name, content in (("a.pth", b"1"), ("same.pth", b"1"), ("b.pth", b"2")):
        (tmp_path / name).write_bytes(content)
    a, same, b = (
        fingerprint(tiny_params(f"model.weights={tmp_path / name}"), START, INFO)
        for name in ("a.pth", "same.pth", "b.pth")
    )
    assert a == same != b


def test_missing_start_weights_are_named(tmp_path: Path, tiny_params: LoadParams) -> None:
    with pytest.raises(UserError, match=r"model\.weights = .*gone\.pth: no such file"):
        fingerprint(tiny_params(f"model.weights={tmp_path / 'gone.pth'}"), START, INFO)


def test_other_code_of_the_method_makes_another_run(
    tmp_path: Path, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, version = fingerprint(tiny_params(), START, INFO), code_version()
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/ucc.py").write_text("changed")
    monkeypatch.setattr("ucc.runs._PACKAGE", tmp_path)
    assert code_version() != version
    assert fingerprint(tiny_params(), START, INFO) != own


@pytest.mark.parametrize("library", ["albumentations", "numpy", "opencv-python-headless", "torchvision"])
def test_another_version_of_a_library_that_makes_images_or_encoders_makes_another_run(
    library: str, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fingerprint(tiny_params(), START, INFO)
    monkeypatch.setattr("ucc.runs.version", lambda name: "0.0.1" if name == library else version(name))
    assert fingerprint(tiny_params(), START, INFO) != own


def test_a_library_installed_under_another_name_counts_by_the_version_that_it_tells(
    tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("ucc.runs.version", unknown)
    own = fingerprint(tiny_params(), START, INFO)
    monkeypatch.setattr("cv2.__version__", "0.0.1")
    assert fingerprint(tiny_params(), START, INFO) != own


def test_every_file_that_is_named_as_code_exists() -> None:
    from ucc import runs

    assert [pattern for pattern in runs._CODE if not list(runs._PACKAGE.glob(pattern))] == []


def hold(folder: Path, ready: Connection) -> None:
    with locked(folder):
        ready.send("held")
        ready.recv()


@contextmanager
def held(folder: Path, method: str) -> Iterator[BaseProcess]:
    """A process that holds the lock of `folder`, killed in the end."""
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    first = context.Process(target=hold, args=(folder, there))
    first.start()
    assert here.recv() == "held"
    try:
        yield first
    finally:
        first.kill()
        first.join()


def test_a_second_process_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held(folder, "forkserver") as first:
        with pytest.raises(UserError, match=f"run: process {first.pid} is training this very run"), locked(folder):
            pass
        with locked(tmp_path / "another run"):
            pass
    with locked(folder):
        pass


def queued(project: Path, name: str) -> Path:
    """The folder of a run as an experiment of DVC's queue sees it, with docker/run's link to the project's runs."""
    experiment = project / ".dvc/tmp/exps" / name
    experiment.mkdir(parents=True)
    (project / "runs").mkdir(exist_ok=True)
    (experiment / "runs").symlink_to(project / "runs")
    return experiment / "runs/run"


def test_an_experiment_of_the_queue_waits_for_another_one_that_trains_the_same_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = queued(tmp_path, "second")
    monkeypatch.chdir(tmp_path / ".dvc/tmp/exps/second")
    before = signal.getsignal(signal.SIGTERM)
    with held(queued(tmp_path, "first"), "fork") as first:
        is_ended = threading.Event()

        def end() -> None:
            is_ended.set()
            first.kill()

        threading.Timer(0.3, end).start()
        with locked(Path("runs/run")):
            assert is_ended.is_set()
            assert (folder / "lock").read_text() == str(os.getpid())
            assert signal.getsignal(signal.SIGTERM) is before
    told = f"runs/run: process {first.pid} is training this very run. Waiting for its end, to go on from its last"
    assert capfd.readouterr().out == f"{told} checkpoint ...\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_waiting_of_an_experiment_at_once(number: signal.Signals, tmp_path: Path) -> None:
    with held(queued(tmp_path, "first"), "fork") as first, stop_request():
        asking = threading.Timer(0.3, os.kill, (os.getpid(), number))
        rescue = threading.Timer(5, first.kill)
        asking.start()
        rescue.start()
        told = f"{number.name}: .*run: stopped while waiting for process {first.pid}"
        with pytest.raises(StoppedError, match=told) as stopped, locked(queued(tmp_path, "second")):
            pass
        rescue.cancel()
        assert first.is_alive()
    assert stopped.value.status == 128 + number


def test_an_experiment_of_several_processes_is_refused_as_all_but_the_first_would_wait_no_longer_than_torch_lets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.runs.world", lambda: 2)
    with (
        held(queued(tmp_path, "first"), "fork"),
        pytest.raises(UserError, match="is training this very run"),
        locked(queued(tmp_path, "second")),
    ):
        pass


@pytest.mark.parametrize("container", ["ucc-train-project-a1b2c3", "3f1c9e0b7a52", "123456789012"])
def test_a_trainer_in_a_container_is_named_by_what_stops_it(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By docker/run its name, by compose its id, the host name inside: its process has another number out here."""
    monkeypatch.setenv("UCC_CONTAINER", container)
    told = f"container {container} is .*`docker stop {container}`"
    with held(tmp_path / "run", "fork"), pytest.raises(UserError, match=told), locked(tmp_path / "run"):
        pass


def test_of_processes_that_would_be_started_anew_the_one_that_starts_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCC_LAUNCHER", "4711")
    with (
        held(tmp_path / "run", "fork"),
        pytest.raises(UserError, match=r"process 4711 is .*`kill 4711`"),
        locked(tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_where_files_cannot_be_locked_nothing_is_trained_and_the_place_is_named(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ucc.runs.fcntl.lockf", refuse)
    for lock, place in ((locked(tmp_path / "run"), "run"), (outputs_locked(tmp_path / "models/final.pt"), "models")):
        told = rf"{tmp_path / place}/\S*lock: .* has no locks \({os.strerror(number)}\).* Put the folder on another one"
        with pytest.raises(UserError, match=told), lock:
            pytest.fail("went on without a lock")


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path):
        pass


def test_a_corrected_mask_makes_another_run_but_an_unlabeled_one_does_not_count(
    tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, dataset)
    before = data_hash(dataset, tiny_manifest)
    for sample in tiny_manifest.subset("unlabeled"):
        (dataset / "masks" / f"{sample.id}.png").write_bytes(b"never opened")
    assert data_hash(dataset, tiny_manifest) == before
    write_png(dataset / tiny_manifest.subset("labeled")[0].mask, np.zeros((40, 48), np.uint8))
    assert data_hash(dataset, tiny_manifest) != before


def test_a_missing_image_is_named(tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, dataset)
    gone = tiny_manifest.subset("unlabeled")[0].image
    (dataset / gone).unlink()
    with pytest.raises(UserError, match=gone):
        data_hash(dataset, tiny_manifest)
