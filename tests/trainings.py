"""What tests of training need: its places, processes to train in, its history, and what is the same content."""

import csv
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.training import TrainingPaths

LoadParams = Callable[..., Params]
STEPS = 12  # of tiny_params
OUTPUTS = ("final", "best", "history", "confidence", "metrics")
# Processes start from a server that has the libraries loaded: a start costs no import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["ucc.training"])


def places(folder: Path, dataset: Path, manifest: Manifest) -> TrainingPaths:
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder / "manifest.csv")
    return TrainingPaths(
        dataset=dataset,
        manifest=folder / "manifest.csv",
        runs=folder / "runs",
        final=folder / "models/final.pt",
        best=folder / "models/best.pt",
        history=folder / "metrics/history.csv",
        confidence=folder / "metrics/confidence.csv",
        metrics=folder / "metrics/train.json",
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def tensors(value: Any) -> Iterator[tuple[str, Any]]:
    """All leaves of a nested structure with their places."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ((f"{key}.{name}", leaf) for name, leaf in tensors(item))
    else:
        yield "", value


def assert_same_content(one: Path, other: Path) -> None:
    """torch.save puts the file's name inside, so that contents are compared, bit for bit, rather than files."""
    first = dict(tensors(torch.load(one, weights_only=True)))
    second = dict(tensors(torch.load(other, weights_only=True)))
    assert first.keys() == second.keys()
    different = [
        name
        for name, value in first.items()
        if not (torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name])
    ]
    assert different == []
