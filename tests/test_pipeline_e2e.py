"""The promises of the pipeline as a whole: one tiny `dvc repro` in a clone of its own, and what DVC does with it."""

import csv
import json
from pathlib import Path

import cv2
import pytest
import yaml
from clones import RESULTS, TINY, Clone

from ucc import paths

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(finished_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The project after `dvc repro` with the smallest sensible parameters, everything committed."""
    return finished_clone.copy(tmp_path_factory.mktemp("pipeline"))


def test_repro_leaves_every_result_that_dvc_yaml_promises(clone: Clone) -> None:
    assert [place.as_posix() for place in RESULTS if not (clone.root / place).exists()] == []


def test_git_holds_the_small_results_and_dvc_the_large_ones(clone: Clone) -> None:
    tracked = set(clone.succeed("git", "ls-files").splitlines())
    small = {paths.METRICS, paths.PER_CLASS, paths.CONFUSION, paths.HISTORY, paths.TRAIN_METRICS, paths.PARITY}
    small |= {paths.LATENCY}
    assert {place.as_posix() for place in small} <= tracked
    assert "dvc.lock" in tracked
    assert not any(name.endswith((".pt", ".onnx")) or name.startswith("data/dataset") for name in tracked)


def test_every_metric_says_on_which_partition_it_was_measured(clone: Clone) -> None:
    partition = json.loads((clone.root / paths.PARTITION).read_text(encoding="utf-8"))
    evaluation = json.loads((clone.root / paths.METRICS).read_text(encoding="utf-8"))
    training = json.loads((clone.root / paths.TRAIN_METRICS).read_text(encoding="utf-8"))
    assert evaluation["manifest"] == training["manifest"]
    assert evaluation["manifest"] in partition.values()
    assert evaluation["step"] == training["step"] == TINY["train"]["steps"]
    assert 0 <= evaluation["miou"] <= 100


def test_history_has_a_row_a_step_and_val_figures_where_there_was_a_validation(clone: Clone) -> None:
    with (clone.root / paths.HISTORY).open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["val_miou_head_1"]) for row in rows] == [False, True, True]
    assert all(float(row["loss"]) > 0 for row in rows)


def test_panels_are_pictures(clone: Clone) -> None:
    pictures = sorted((clone.root / paths.PANELS).glob("*.png"))
    assert len(pictures) >= 2
    for picture in pictures:
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.std() > 0


@pytest.mark.parametrize("model", [paths.SEGMENTER, paths.INT8 / paths.SEGMENTER.name], ids=["float", "int8"])
def test_the_onnx_file_segments_a_picture_without_the_project(clone: Clone, tmp_path: Path, model: Path) -> None:
    picture = next((clone.root / paths.DATASET / "images/val").iterdir())
    model = clone.root / model
    alone = Clone(tmp_path, {**clone.environment, "PYTHONPATH": str(clone.root / "src")})
    alone.succeed("python", "-m", "ucc", "segment", "--model", str(model), str(picture), "out")
    assert (tmp_path / "out" / "shares.csv").is_file()
    written = sorted((tmp_path / "out").glob("*.png"))
    assert len(written) == 3
    shapes = {cv2.imread(str(path)).shape[:2] for path in written}
    assert shapes == {(64, 128)}


def test_metrics_hold_miou_size_and_time_of_the_exported_file_and_its_quantised_twin(clone: Clone) -> None:
    evaluation = json.loads((clone.root / paths.METRICS).read_text(encoding="utf-8"))
    measured = json.loads((clone.root / paths.PARITY).read_text(encoding="utf-8"))
    assert measured["miou"] == pytest.approx(evaluation["miou"], abs=0.1)
    assert measured["int8"]["kept"] is True
    assert measured["int8"]["miou"] == pytest.approx(measured["miou"] - measured["int8"]["miou_drop"], abs=1e-3)
    assert 0 < measured["int8"]["megabytes"] < measured["megabytes"]
    times = json.loads(clone.succeed("dvc", "metrics", "show", "--json"))[""]["data"][paths.LATENCY.as_posix()]["data"]
    assert min(times["float_ms"], times["int8_ms"]) > 0
    assert (times["threads"], times["height"], times["width"]) == (1, 64, 128)


def test_without_quantisation_the_stage_says_so_and_leaves_no_quantised_file_of_before(clone: Clone) -> None:
    clone.edit_params("enabled: true\n    calibration_images: 4", "enabled: false\n    calibration_images: 4")
    told = clone.succeed("dvc", "repro")
    left = [path.name for path in (clone.root / paths.INT8).iterdir()]
    clone.restore()
    assert "export.quantize.enabled is false." in told
    assert "Running stage 'export'" in told
    assert "Running stage 'evaluate'" not in told
    assert left == ["why_absent.txt"]
    assert [path.name for path in (clone.root / paths.INT8).iterdir()] == [paths.SEGMENTER.name]


def test_a_second_repro_does_nothing(clone: Clone) -> None:
    before = {place: (clone.root / place).stat().st_mtime_ns for place in RESULTS}
    assert "up to date" in clone.succeed("dvc", "repro")
    assert {place: (clone.root / place).stat().st_mtime_ns for place in RESULTS} == before
    assert clone.succeed("git", "status", "--porcelain") == ""


def test_plots_open_without_a_network(clone: Clone) -> None:
    clone.succeed("dvc", "plots", "show")
    page = (clone.root / "dvc_plots/index.html").read_text(encoding="utf-8")
    for title in ("Losses", "Mean IoU", "IoU by class", "share that was predicted"):
        assert title in page
    assert "<img src=" in page
    assert "<script src=" not in page
    assert "val_miou_head_1" in page


def test_a_misspelt_key_stops_the_pipeline_with_its_name(clone: Clone) -> None:
    clone.edit_params("labeled_ids:", "labelled_ids:")
    done = clone.run("dvc", "repro")
    clone.restore()
    assert done.returncode != 0
    assert "unknown key partition.labelled_ids; did you mean partition.labeled_ids?" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_mistyped_value_costs_no_result_though_there_is_no_checkpoint_to_go_on_from(clone: Clone) -> None:
    aside = (clone.root / paths.RUNS).rename(clone.root / "runs.aside")
    before = clone.hashes()
    clone.edit_params("momentum: 0.9", "momentum: 1.9")
    assert clone.run("dvc", "repro").returncode != 0
    clone.edit_params("momentum: 1.9", "momentum: 0.9")
    told = clone.succeed("dvc", "repro")
    assert "Running stage" not in told
    assert clone.hashes() == before
    aside.rename(clone.root / paths.RUNS)


def test_no_result_of_long_ago_is_brought_back_by_parameters_of_then(clone: Clone) -> None:
    """DVC's run cache knows nothing of what a stage reads beside its parameters, such as a folder of images."""
    assert not (clone.root / ".dvc/cache/runs").exists()


def test_another_threshold_that_the_data_meet_is_no_reason_to_train_again(clone: Clone) -> None:
    before = (clone.root / paths.VALIDATION_JSON).read_text(encoding="utf-8")
    clone.edit_params("min_labeled_images: 2", "min_labeled_images: 3")
    told = clone.succeed("dvc", "repro", "train")
    after = (clone.root / paths.VALIDATION_JSON).read_text(encoding="utf-8")
    clone.restore()
    assert "Running stage 'validate'" in told
    assert "Running stage 'train'" not in told
    assert after != before


def test_a_failed_validation_stops_the_pipeline_before_training(clone: Clone) -> None:
    clone.edit_params("min_labeled_images: 2", "min_labeled_images: 15")
    done = clone.run("dvc", "repro")
    clone.restore()
    assert done.returncode != 0
    assert "Running stage 'validate'" in done.stdout
    assert "Running stage 'train'" not in done.stdout


def test_an_experiment_with_another_seed_is_run_listed_and_compared(clone: Clone) -> None:
    clone.succeed("dvc", "exp", "run", "--name", "other-seed", "--set-param", "train.seed=1", "train")
    seed = yaml.safe_load((clone.root / "params.yaml").read_text(encoding="utf-8"))["train"]["seed"]
    table = clone.succeed("dvc", "exp", "show", "--csv")
    changes = json.loads(clone.succeed("dvc", "metrics", "diff", "--json"))
    clone.restore()
    assert seed == 1
    assert "other-seed" in table
    assert "miou" in table.splitlines()[0]
    assert paths.TRAIN_METRICS.as_posix() in changes
    assert changes[paths.TRAIN_METRICS.as_posix()]["loss"]["diff"] != 0


def test_a_fresh_clone_shows_what_was_measured(clone: Clone, tmp_path: Path) -> None:
    clone.succeed("git", "clone", "--quiet", str(clone.root), str(tmp_path / "fresh"))
    fresh = Clone(tmp_path / "fresh", clone.environment)
    assert "miou" in fresh.succeed("dvc", "exp", "show", "--csv")
    assert "miou" in fresh.succeed("dvc", "metrics", "show")
