"""The folder of a run: it belongs to the parameters that determine its result, and to one trainer at a time.

The outputs of training, which all runs have in common, belong to one trainer at a time, too.
"""

import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest
from ucc.distributed import world
from ucc.errors import UserError
from ucc.files import remove, sha256
from ucc.models.weights import weights_identity
from ucc.output import tell
from ucc.progress import Progress
from ucc.signals import StoppedError

# Keys that change how long training takes or what it prints, but not the weights that come out. On other numbers of
# devices weights are equal but for rounding and dropout's draws, so that a run may go on with other devices.
_WITHOUT_EFFECT = ("workers", "checkpoint_every", "devices", "nodes", "launcher", "max_restarts")
_PACKAGE = Path(__file__).parent
# The code that decides which weights come out, among them the best on val, and what the history says of them.
_CODE = ("data/augment.py", "data/batch.py", "data/images.py", "data/loader.py", "data/manifest.py",
         "data/samples.py",
         "copy_paste.py", "devices.py", "distributed.py", "evaluation.py", "flaws.py", "history.py", "images.py",
         "inference.py", "losses.py", "metrics.py", "optimizer.py", "perturbations.py", "seeding.py",
         "tiff.py", "training.py", "uncertainty.py",
         "methods/*.py", "models/*.py")  # fmt: skip

# Of the libraries beside torch those that read, crop and distort images, or hold the encoders: distribution -> module.
_LIBRARIES = {
    "albumentations": "albumentations",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "torchvision": "torchvision",
}


def data_hash(dataset: Path, manifest: Manifest) -> str:
    """SHA-256 over the manifest and the bytes of every file that training opens, masks of unlabelled images left out.

    Raises:
        UserError: if a file cannot be read.
    """
    digest = hashlib.sha256(manifest.hash.encode())
    samples = [sample for sample in manifest.samples if sample.subset != "test"]
    progress = Progress("hash", len(samples), "samples")
    for sample in samples:
        for name in (sample.image, "" if sample.subset == "unlabeled" else sample.mask):
            if name:
                try:
                    digest.update(f"{name} {sha256(dataset / name)}\n".encode())
                except OSError as error:
                    raise UserError(f"{dataset / name}: cannot be read ({error.strerror}).") from error
        progress.advance()
    return digest.hexdigest()


def fingerprint(params: Params, data: str, info: DatasetInfo) -> str:
    """16 hex digits over everything that determines the result of training: parameters, data, code, libraries.

    `data` is what `data_hash` gives.

    Raises:
        UserError: if `model.weights` names a file that does not exist.
    """
    train = {key: value for key, value in asdict(params.train).items() if key not in _WITHOUT_EFFECT}
    model = asdict(params.model) | {"weights": weights_identity(params.model.weights)}
    determined_by = {
        "train": train,
        "model": model,
        "views": asdict(params.views),
        "method": asdict(params.method),
        "data": data,
        "dataset": {"name": info.name, "classes": info.classes, "provenance": dict(info.provenance)},
        "code": code_version(),
        "torch": torch.__version__,
        "libraries": {name: _library_version(name, module) for name, module in _LIBRARIES.items()},
    }
    return hashlib.sha256(json.dumps(determined_by, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_version() -> str:
    """SHA-256 over the source files that decide which weights come out of training."""
    digest = hashlib.sha256()
    for path in sorted(file for pattern in _CODE for file in _PACKAGE.glob(pattern)):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


def _library_version(distribution: str, module: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        # Installed as another distribution, such as opencv-python, or by a packager that leaves no metadata.
        return str(import_module(module).__version__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder for this process; the lock ends with the process, however it ends.

    In an experiment of DVC's queue, which has the folder of runs in common with those beside it, wait for another one
    that trains the same run: experiments that differ in how they are evaluated only are queued for one training.

    Raises:
        UserError: if another process trains the same run elsewhere, or the file system has no locks.
        StoppedError: if a signal ends the waiting.
    """
    # Several processes are refused there, too: all but the first would wait in an exchange, which has a time limit.
    wait = "/.dvc/tmp/exps/" in str(folder.absolute()) and world() == 1
    with _held(folder / "lock", folder, "this very run", "the next start goes on from its last checkpoint", wait):
        # A kill while a checkpoint was being written leaves its temporary file, as large as the checkpoint.
        # Not sweep: the workers of the killed trainer hold locks on such files for seconds.
        for leftover in folder.glob(".*.partial.*"):
            remove(leftover)
        yield


def outputs_locked(final: Path) -> AbstractContextManager[None]:
    """Hold the outputs of training, of which `final` stands for all: those of every run are written to the same places.

    Raises:
        UserError: if another process trains a run that ends there, or the file system has no locks.
    """
    # Beside the outputs, so that it is shared exactly where they are: several checkouts may have one folder of runs.
    lock = final.with_name(f".{final.name}.lock")
    return _held(lock, final, "another run that ends there", "that run's next start goes on from its last checkpoint")


@contextmanager
def _held(lock: Path, place: Path, what: str, remedy: str, wait: bool = False) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as stream:
        try:
            # Not flock: workers inherit that one, and would hold it for seconds after the trainer was killed.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip() or "unknown"
            process = owner.isdigit() and len(owner) < 12  # as long as a container's id
            who, end = ("process", "kill") if process else ("container", "docker stop")
            told = f"{place}: {who} {owner} is training {what}."
            if not wait:
                raise UserError(f"{told} Wait for it, or end it with `{end} {owner}`; {remedy}.") from None
            tell(f"{told} Waiting for its end, to go on from its last checkpoint ...")
            with _signals_end_at_once(f"{place}: stopped while waiting for {who} {owner}, before any step."):
                fcntl.lockf(stream, fcntl.LOCK_EX)
        except OSError as error:
            # Not as stages do, which go on: they lose no more by it than the wait, training what it has learnt.
            raise UserError(
                f"{lock}: the file system has no locks ({error.strerror}), without which two trainers may write here. "
                "Put the folder on another one, to which a link may lead, or mount this one with locks."
            ) from error
        stream.truncate(0)
        stream.write(os.environ.get("UCC_CONTAINER") or os.environ.get("UCC_LAUNCHER") or str(os.getpid()))
        stream.flush()
        yield


@contextmanager
def _signals_end_at_once(message: str) -> Iterator[None]:
    """Have SIGTERM, SIGINT and SIGHUP raise StoppedError, where training would finish its step first."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise StoppedError(number, f"{signal.Signals(number).name}: {message}")

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else this runs under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
