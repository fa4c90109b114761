"""`dvc repro` killed in the middle of everything ends, when run again, as if nothing had happened.

Here a few moments; `make faults` takes twenty at random (tests/faults.py).
"""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from clones import Clone
from faults import REFUSED, kill_before, leftovers, prepare_kills, repro_until_done, start

from ucc import paths

pytestmark = pytest.mark.slow
# What is about to appear under its name when the kill comes: by download, partition, train (which first moves the
# checkpoint before out of the way) and export, which writes two.
TARGETS = (
    paths.DATASET.name,
    paths.MANIFEST.name,
    "checkpoint.previous.pt",
    "checkpoint.pt",
    paths.SEGMENTER.name,
    paths.INT8.name,
)


def test_killed_while_each_stage_writes_its_result_it_ends_as_undisturbed(
    fresh_clone: Clone, finished_clone: Clone, tmp_path: Path
) -> None:
    clone = prepare_kills(fresh_clone.copy(tmp_path))
    for target in TARGETS:
        kill_before(clone, target, tmp_path / target)
        assert leftovers(clone)
    repro_until_done(clone, orphan=False)
    assert clone.hashes() == finished_clone.hashes()
    assert leftovers(clone) == []


def test_a_trainer_that_outlives_its_dvc_keeps_the_next_one_out_until_it_has_ended(
    finished_clone: Clone, tmp_path: Path
) -> None:
    clone = finished_clone.copy(tmp_path)
    shutil.rmtree(clone.root / paths.RUNS)
    again = ("--force", "--single-item", "train")
    process = start(clone, *again, log=tmp_path / "log")
    while not (locks := [lock for lock in (clone.root / paths.RUNS).glob("*/lock") if lock.read_text()]):
        assert process.poll() is None
        time.sleep(0.01)
    owner = locks[0].read_text()
    os.kill(int(owner), signal.SIGSTOP)  # so that it lives on however slow the machine is
    process.kill()
    process.wait()
    refused = clone.run("dvc", "repro", *again)
    os.kill(int(owner), signal.SIGCONT)
    assert refused.returncode != 0
    assert f"process {owner} {REFUSED}" in refused.stdout
    repro_until_done(clone, *again, orphan=True)
    assert clone.hashes() == finished_clone.hashes()
