"""What tests of training need: its places, processes to train in, its history."""

import csv
import multiprocessing
from pathlib import Path

from ucc.data.manifest import Manifest
from ucc.training import TrainingPaths

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
