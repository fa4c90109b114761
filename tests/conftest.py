"""What several test files share: a tiny data set in the canonical layout, and parameters that fit it."""

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest
import torch
from clones import Clone, make_clone
from tiny import COLORS, REPOSITORY, SIZE, SUBSET_SIZES, TINY
from tiny_segmenter import FACTS, METRICS, make_decided, tiny_segmenter
from unreliable_web import Web

from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.manifest import Manifest, Sample
from ucc.export import export_segmenter
from ucc.models import Segmenter
from ucc.params import load_params

if TYPE_CHECKING:
    from ucc.training import TrainingPaths

# One thread: sums come out the same everywhere, and tests do not fight for cores. The variable is for child processes.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["UCC_RUNTIME"] = "host"  # tests of the container set their own
# Shells start what runs in the background with Ctrl-C ignored, which these tests and what they start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # when those that are left out are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the files with slow tests out among the processes, each of which begins with its own.

    xdist gives every process an equal part of the list, in its order, and moves what is left over. By the alphabet, one
    process would be alone with the slowest tests in the end.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    slow: dict[Path, list[pytest.Item]] = {item.path: [] for item in items if item.get_closest_marker("slow")}
    quick: list[pytest.Item] = []
    for item in items:
        slow.get(item.path, quick).append(item)
    parts = [list(chain.from_iterable(list(slow.values())[start::processes])) for start in range(processes)]
    share = len(items) // processes
    for part in parts:
        missing = max(share - len(part), 0)
        part += quick[:missing]
        del quick[:missing]
    items[:] = [*chain.from_iterable(parts), *quick]


def draw_scene(rng: np.random.Generator) -> tuple[Image, Image]:
    """A mask of three classes in blocks of 8 pixels, some of it unlabelled, and a noisy picture of it."""
    blocks = rng.integers(0, len(COLORS), (SIZE[0] // 8, SIZE[1] // 8), dtype=np.uint8)
    mask = blocks.repeat(8, axis=0).repeat(8, axis=1)
    noisy = np.array(COLORS)[mask] + rng.normal(0, 20, (*SIZE, 3))
    mask[:2] = 255
    return noisy.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the canonical layout. One mask of an unlabelled image is garbage, the others do not exist."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    DatasetInfo("tiny", ("red", "green", "blue"), COLORS).write(folder)
    for sample in tiny_samples():
        image, mask = draw_scene(rng)
        write_png(folder / sample.image, image)
        if sample.subset != "unlabeled":
            write_png(folder / sample.mask, mask)
    garbage = folder / "masks/train/unlabeled_0.png"
    garbage.write_bytes(b"not a mask")
    return folder


@pytest.fixture(scope="session")
def tiny_manifest() -> Manifest:
    """Three labelled, five unlabelled and two validation images of `tiny_dataset`."""
    return Manifest(tiny_samples())


@pytest.fixture(scope="session")
def tiny_params() -> Callable[..., Params]:
    """`tiny_params("train.steps=3", ...)`: parameters for a model and crops of toy size, with changes."""

    @cache
    def load(*changes: str) -> Params:
        return load_params(REPOSITORY / "params.yaml", [*TINY, *changes])

    return lambda *changes: deepcopy(load(*changes))


@pytest.fixture
def paths(tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest) -> "TrainingPaths":
    """The places of a training on the tiny data set."""
    from trainings import places  # seconds of imports, which most files of tests do without

    return places(tmp_path, tiny_dataset, tiny_manifest)


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
) -> "TrainingPaths":
    """A training that nothing interrupted; only to be read."""
    from trainings import places

    from ucc.training import train

    done = places(tmp_path_factory.mktemp("undisturbed"), tiny_dataset, tiny_manifest)
    train(tiny_params(), done)
    return done


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The variables that a test, or the code in it, sets are gone after it: tests hold in every order."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP as in a terminal, for this process and those it starts, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server for one test, on which `fetch` does not wait between its attempts."""
    monkeypatch.setattr("ucc.data.fetch.PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Web()
    yield served
    served.close()


@pytest.fixture(scope="session")
def fresh_clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The project with the smallest sensible parameters, committed, before anything was run."""
    return make_clone(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def finished_clone(fresh_clone: Clone, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Clone:
    """The same after an undisturbed `dvc repro`, committed; tests that change anything change a copy.

    Of several processes that run tests, the first that needs it makes it for all.
    """
    own = tmp_path_factory.getbasetemp()
    base = (own if worker_id == "master" else own.parent) / "finished"
    base.mkdir(exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (base / "done").exists():
            return fresh_clone.at(base)
        shutil.rmtree(base / "project", ignore_errors=True)  # of a process that failed
        clone = fresh_clone.copy(base)
        clone.succeed("dvc", "repro")
        clone.commit()
        (base / "done").touch()
    return clone


@pytest.fixture(scope="session")
def tiny() -> Segmenter:
    """A segmenter with decided scores that is exported in a second."""
    segmenter = tiny_segmenter()
    make_decided(segmenter)
    return segmenter


@pytest.fixture(scope="session")
def exported(tiny: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `tiny`."""
    path = tmp_path_factory.mktemp("export") / "segmenter.onnx"
    export_segmenter(tiny.train(), FACTS, METRICS, "c0ffee", path, opset=18)
    return path


def tiny_samples() -> list[Sample]:
    """The rows of the manifest."""
    samples = []
    for subset, count in SUBSET_SIZES.items():
        split = "val" if subset == "val" else "train"
        for index in range(count):
            stem = f"{split}/{subset}_{index}"
            samples.append(Sample(stem, f"images/{stem}.png", f"masks/{stem}.png", subset))
    return samples
