"""From `ucc rank` back into the pipeline: rank, write the list into params.yaml, `dvc repro`."""

import csv
from pathlib import Path

import pytest
from clones import Clone

from ucc import paths
from ucc.data.manifest import Manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(finished_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return finished_clone.copy(tmp_path_factory.mktemp("rank"))


def labeled(clone: Clone) -> set[str]:
    return {sample.id for sample in Manifest.read(clone.root / paths.MANIFEST).subset("labeled")}


def unlabeled(clone: Clone) -> set[str]:
    return {sample.id for sample in Manifest.read(clone.root / paths.MANIFEST).subset("unlabeled")}


def test_the_chosen_images_are_labelled_by_the_commands_that_the_ranking_names(clone: Clone) -> None:
    before = labeled(clone)
    printed = clone.succeed("python", "-m", "ucc", "rank", str(paths.FINAL), "--count", "2")
    for said in ("partition.labeled_ids: ranking/labeled_ids.txt", "`dvc repro -f partition`", "`dvc repro`"):
        assert said in printed
    assert "another partition" not in printed
    with (clone.root / "ranking/ranking.csv").open(newline="", encoding="utf-8") as stream:
        chosen = {row["id"] for row in csv.DictReader(stream) if row["rank"]}
    assert len(chosen - before) == 2

    clone.edit_params("labeled_ids: null", f"labeled_ids: {Path('ranking') / 'labeled_ids.txt'}")
    # `-f` runs what comes before as well: new masks in a folder are what DVC knows nothing of, either.
    assert "Running stage 'download'" in clone.succeed("dvc", "repro", "-f", "partition")
    clone.succeed("dvc", "repro")
    assert labeled(clone) == before | chosen
    assert "up to date" in clone.succeed("dvc", "status")

    # In the next round the list has another content, of which DVC knows nothing, and the name of before.
    with (clone.root / "ranking/labeled_ids.txt").open("a", encoding="utf-8") as out:
        out.write(f"{next(iter(unlabeled(clone)))}\n")
    clone.succeed("dvc", "repro", "-f", "partition")
    assert len(labeled(clone)) == len(before | chosen) + 1
    assert "changed deps" in clone.succeed("dvc", "status", "train")


def test_the_exported_file_ranks_the_same_images_by_the_same_uncertainty(clone: Clone) -> None:
    rows = []
    for model in (paths.FINAL, paths.SEGMENTER):
        clone.succeed("python", "-m", "ucc", "rank", str(model), "--out", f"ranked{model.suffix}", "--no-spread")
        with (clone.root / f"ranked{model.suffix}/ranking.csv").open(newline="", encoding="utf-8") as stream:
            rows.append({row["id"]: float(row["uncertainty"]) for row in csv.DictReader(stream)})
    assert rows[0] == pytest.approx(rows[1], abs=1e-3)
