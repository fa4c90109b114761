import csv
import json
import math
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import REPOSITORY, TINY, prepare_stage
from torch import Tensor, nn

from ucc import paths
from ucc.config import EvaluateParams, ModelParams, Params
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError
from ucc.evaluation import (
    Evaluation,
    check_origin,
    evaluate,
    format_table,
    validate_miou,
    write_evaluation,
)
from ucc.models import build_segmenter
from ucc.models.store import SegmenterFacts, save_segmenter

INFO = DatasetInfo("toy", ("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
PARAMS = EvaluateParams(
    checkpoint="final",
    split="val",
    sliding_window=False,
    window=[16, 16],
    stride=[8, 8],
    panels=2,
    pseudo_label_images=0,
)
CPU = torch.device("cpu")
FACTS = SegmenterFacts(
    dataset="toy",
    classes=INFO.classes,
    colors=INFO.colors,
    model=ModelParams(
        backbone="resnet18", weights="none", output_stride=16, head="separable", head_width=16, dropout=0.0
    ),
    step=300,
    fingerprint="f" * 16,
    manifest="m" * 16,
    params={},
)
SIZES = ((20, 33), (31, 18), (16, 16))


class TwoHeads(nn.Module):
    """Head 1 takes the channels as the scores of the three classes, head 2 takes them in another order, less sure."""

    heads = 2

    def forward(self, images: Tensor) -> list[Tensor]:
        scores = images.float() / 20
        return [scores, 0.7 * scores.roll(1, dims=1)][: self.heads]


class OneHead(TwoHeads):
    heads = 1


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, tuple[Sample, ...]]:
    """Three images of different sizes with random colours and masks, class 2 in none of the masks."""
    rng = np.random.default_rng(0)
    samples = []
    for index, size in enumerate(SIZES):
        sample = Sample(f"val/{index}", f"images/val/{index}.png", f"masks/val/{index}.png", "val")
        write_png(tmp_path / sample.image, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        write_png(tmp_path / sample.mask, rng.choice(np.array([0, 1, 1, 255], np.uint8), size))
        samples.append(sample)
    return tmp_path, tuple(samples)


def slow_matrices(folder: Path, samples: tuple[Sample, ...]) -> dict[str, NDArray[np.int64]]:
    matrices = {name: np.zeros((3, 3), np.int64) for name in ("head_1", "head_2", "mean")}
    for sample in samples:
        image = cv2.imread(str(folder / sample.image))[..., ::-1].astype(np.float64)
        mask = cv2.imread(str(folder / sample.mask), cv2.IMREAD_UNCHANGED)
        for y, x in np.ndindex(mask.shape):
            if mask[y, x] == 255:
                continue
            first = np.exp(image[y, x] / 20) / np.exp(image[y, x] / 20).sum()
            second = np.exp(np.roll(image[y, x], 1) * 0.035) / np.exp(image[y, x] * 0.035).sum()
            votes = {"head_1": first, "head_2": second, "mean": (first + second) / 2}
            for name, vote in votes.items():
                matrices[name][mask[y, x], vote.argmax()] += 1
    return matrices


def run(data: tuple[Path, tuple[Sample, ...]], segmenter: nn.Module, params: EvaluateParams = PARAMS) -> Evaluation:
    folder, samples = data
    return evaluate(segmenter, samples, folder, INFO, params, CPU, progress=False)


def written(
    evaluation: Evaluation, folder: Path
) -> tuple[dict[str, object], list[dict[str, str]], list[dict[str, str]]]:
    places = folder / "evaluation.json", folder / "per_class.csv", folder / "confusion.csv"
    write_evaluation(evaluation, FACTS, replace(PARAMS, split="test"), *places)
    tables = [list(csv.DictReader(path.read_text().splitlines())) for path in places[1:]]
    return json.loads(places[0].read_text()), tables[0], tables[1]


def test_every_pixel_of_images_of_any_size_counts_once_for_each_head_and_their_mean(
    data: tuple[Path, tuple[Sample, ...]],
) -> None:
    evaluation = run(data, TwoHeads())
    expected = slow_matrices(*data)
    assert evaluation.images == 3
    assert list(evaluation.matrices) == ["head_1", "head_2", "mean"]
    for name, matrix in evaluation.matrices.items():
        assert matrix.matrix.tolist() == expected[name].tolist()


def test_a_segmenter_with_one_head_has_no_second_score_and_no_mean(
    data: tuple[Path, tuple[Sample, ...]], tmp_path: Path
) -> None:
    metrics, per_class, _ = written(run(data, OneHead()), tmp_path)
    assert not {"head_2", "mean"} & set(metrics)
    assert list(per_class[0]) == ["class", "share", "iou_head_1", "accuracy_head_1"]


def test_the_sliding_window_is_used_only_where_asked_for(data: tuple[Path, tuple[Sample, ...]]) -> None:
    seen: list[tuple[int, int]] = []

    class Recorder(OneHead):
        def forward(self, images: Tensor) -> list[Tensor]:
            seen.append((images.shape[2], images.shape[3]))
            return super().forward(images)

    run(data, Recorder())
    assert seen == list(SIZES)
    seen.clear()
    windowed = replace(PARAMS, sliding_window=True)
    run(data, Recorder(), windowed)
    assert set(seen) == {(16, 16)}
    seen.clear()
    validate_miou(Recorder(), data[1], data[0], INFO, windowed, CPU)
    assert seen == list(SIZES)


def test_the_segmenter_is_left_in_the_mode_it_came_in(data: tuple[Path, tuple[Sample, ...]]) -> None:
    modes: list[bool] = []

    class Recorder(OneHead):
        def forward(self, images: Tensor) -> list[Tensor]:
            modes.append(self.training)
            return super().forward(images)

    segmenter = Recorder().train()
    run(data, segmenter)
    assert segmenter.training
    assert modes == [False] * 3


def test_metrics_are_percent_with_head_1_at_the_top_and_say_what_was_measured(
    data: tuple[Path, tuple[Sample, ...]], tmp_path: Path
) -> None:
    evaluation = run(data, TwoHeads())
    metrics, _, _ = written(evaluation, tmp_path)
    for name, counts in slow_matrices(*data).items():
        iou = counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())
        assert metrics[name] == {
            "miou": pytest.approx(100 * iou.mean(), abs=1e-4),
            "mean_accuracy": pytest.approx(100 * np.mean([counts[c, c] / counts[c].sum() for c in (0, 1)]), abs=1e-4),
            "pixel_accuracy": pytest.approx(100 * counts.trace() / counts.sum(), abs=1e-4),
        }
    head = metrics["head_1"]
    assert isinstance(head, dict)
    assert {key: metrics[key] for key in head} == head
    assert validate_miou(TwoHeads(), data[1], data[0], INFO, PARAMS, CPU)["head_2"] == evaluation.miou()["head_2"]
    origin = {key: metrics[key] for key in ("checkpoint", "step", "manifest", "fingerprint", "split", "images")}
    told = {"checkpoint": "final", "step": 300, "manifest": "m" * 16, "fingerprint": "f" * 16, "split": "test"}
    assert origin == told | {"images": 3}


def test_tables_have_a_row_per_class_and_per_pair_of_classes_and_leave_undefined_figures_empty(
    data: tuple[Path, tuple[Sample, ...]], tmp_path: Path
) -> None:
    _, per_class, confusion = written(run(data, TwoHeads()), tmp_path)
    counts = slow_matrices(*data)["head_1"]
    assert [row["class"] for row in per_class] == list(INFO.classes)
    assert list(per_class[0]) == ["class", "share", "iou_head_1", "iou_head_2", "iou_mean", "accuracy_head_1"]
    shares = 100 * counts.sum(axis=1) / counts.sum()
    assert [float(row["share"]) for row in per_class] == pytest.approx(shares.tolist(), abs=1e-4)
    assert (per_class[2]["iou_head_1"], per_class[2]["accuracy_head_1"]) == ("0.0", "")
    assert [int(row["pixels"]) for row in confusion] == counts.ravel().tolist()
    assert [row["predicted"] for row in confusion[:3]] == list(INFO.classes)
    assert [row["actual"] for row in confusion[::3]] == list(INFO.classes)
    assert sum(float(row["share"]) for row in confusion[:3]) == pytest.approx(1, abs=1e-5)
    assert [row["share"] for row in confusion[6:]] == ["", "", ""]


def test_the_printed_table_ends_with_the_means(data: tuple[Path, tuple[Sample, ...]]) -> None:
    evaluation = run(data, TwoHeads())
    lines = format_table(evaluation, INFO.classes).splitlines()
    assert [line.split()[0] for line in lines] == ["class", "road", "car", "sky", "mean"]
    assert lines[-1].split()[1] == f"{evaluation.miou()['head_1']:.2f}"
    assert len(set(map(len, lines[:3]))) == 1


def test_progress_is_shown_with_the_number_of_images(
    data: tuple[Path, tuple[Sample, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(OneHead(), data[1], data[0], INFO, PARAMS, CPU)
    assert "evaluate 3/3 images" in capsys.readouterr().err


def test_without_validation_images_the_user_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a val split"):
        run((tmp_path, ()), OneHead())


def test_an_image_that_memory_does_not_suffice_for_is_named(data: tuple[Path, tuple[Sample, ...]]) -> None:
    class Greedy(nn.Module):
        def forward(self, _: Tensor) -> list[Tensor]:
            return [torch.empty(1 << 60, dtype=torch.uint8)]

    with pytest.raises(UserError, match=rf"{data[1][0].image}: out of memory while predicting its \d+x\d+ pixels"):
        run(data, Greedy())


def test_masks_without_a_labelled_pixel_are_an_error_and_not_a_nan(data: tuple[Path, tuple[Sample, ...]]) -> None:
    folder, samples = data
    write_png(folder / samples[0].mask, np.full(SIZES[0], 255, np.uint8))
    with pytest.raises(UserError, match="no image to evaluate on has a labelled pixel"):
        run((folder, samples[:1]), OneHead())


def test_a_checkpoint_of_another_partition_or_other_classes_is_refused(data: tuple[Path, tuple[Sample, ...]]) -> None:
    manifest, path = Manifest(data[1]), Path("models/final.pt")
    own = replace(FACTS, manifest=manifest.hash)
    check_origin(own, path, manifest, INFO)
    with pytest.raises(UserError, match=r"models/final\.pt: trained with the partition m{16}, here it is"):
        check_origin(FACTS, path, manifest, INFO)
    with pytest.raises(UserError, match="trained with classes road, car, here it is road, car, sky"):
        check_origin(replace(own, classes=INFO.classes[:2]), path, manifest, INFO)


def test_undefined_means_are_no_nan_in_the_json(data: tuple[Path, tuple[Sample, ...]], tmp_path: Path) -> None:
    metrics, per_class, _ = written(run((data[0], data[1][:1]), OneHead()), tmp_path)
    assert all(math.isfinite(v) for v in metrics.values() if isinstance(v, float))
    assert "nan" not in str(per_class)


@pytest.fixture
def with_test_images(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: Callable[..., Params], tmp_path: Path
) -> Path:
    """A folder in which `evaluate` runs on a network that has learnt nothing: two images are val and three test.

    The final checkpoint is of step 300, the best one of step 200.
    """
    samples = [replace(s, subset="test") if s.subset == "labeled" else s for s in tiny_manifest.samples]
    prepare_stage(tmp_path, tiny_dataset, Manifest(samples))
    info, model = DatasetInfo.read(tiny_dataset), tiny_params().model
    facts = replace(FACTS, classes=info.classes, colors=info.colors, model=model, manifest=Manifest(samples).hash)
    segmenter = build_segmenter(model, info.num_classes, heads=2, seed=0)
    save_segmenter(tmp_path / paths.FINAL, segmenter, facts)
    save_segmenter(tmp_path / paths.BEST, segmenter, replace(facts, step=200))
    return tmp_path


def stage(folder: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, str(REPOSITORY / "pipeline/evaluate.py"), *TINY, "dataset.name=folder", *changes)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("checkpoint", "step", "split", "images"), [("final", 300, "val", 2), ("best", 200, "test", 3)]
)
def test_the_stage_measures_and_shows_the_checkpoint_and_the_split_that_are_asked_for(
    with_test_images: Path, checkpoint: str, step: int, split: str, images: int
) -> None:
    done = stage(with_test_images, f"evaluate.checkpoint={checkpoint}", f"evaluate.split={split}")
    assert done.returncode == 0, done.stderr
    assert f"step {step}, {images} images of {split}" in done.stdout
    metrics = json.loads((with_test_images / paths.METRICS).read_text(encoding="utf-8"))
    told = {"checkpoint": checkpoint, "step": step, "split": split, "images": images}
    assert {key: metrics[key] for key in told} == told
    shown = {path.stem.partition("_")[0] for path in (with_test_images / paths.PANELS).glob("*.png")}
    assert shown == {"val" if split == "val" else "labeled"}


@pytest.mark.parametrize("checkpoint", ["final", "best"])
def test_the_stage_measures_no_checkpoint_of_another_partition(
    checkpoint: str,
    with_test_images: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(with_test_images)
    tiny_manifest.write(paths.MANIFEST)
    main = runpy.run_path(str(REPOSITORY / "pipeline/evaluate.py"))["main"]
    with pytest.raises(UserError, match=rf"{checkpoint}\.pt: trained with the partition .*stage `train`"):
        main(tiny_params(f"evaluate.checkpoint={checkpoint}"))
    assert not paths.METRICS.exists()


def test_a_window_is_given_by_its_height_and_its_width(data: tuple[Path, tuple[Sample, ...]]) -> None:
    seen: set[tuple[int, int]] = set()

    class Recorder(OneHead):
        def forward(self, images: Tensor) -> list[Tensor]:
            seen.add((images.shape[2], images.shape[3]))
            return super().forward(images)

    run(data, Recorder(), replace(PARAMS, sliding_window=True, window=[16, 32], stride=[8, 24]))
    assert seen == {(16, 32)}


def test_every_mean_of_the_printed_table_is_that_of_its_column(data: tuple[Path, tuple[Sample, ...]]) -> None:
    evaluation = run(data, TwoHeads())
    lines = [line.split() for line in format_table(evaluation, INFO.classes).splitlines()]
    assert lines[0][2:] == ["iou_head_1", "iou_head_2", "iou_mean", "accuracy_head_1"]
    # Class 2 is in no mask: it has no accuracy, and its IoU is 0.
    columns = [
        [float(cell) for cell in column] for column in zip(*(line[-4:] for line in (lines[1], lines[2])), strict=True)
    ]
    means = [sum(column) / 3 for column in columns[:3]] + [sum(columns[3]) / 2]
    assert [float(cell) for cell in lines[-1][1:]] == pytest.approx(means, abs=0.01)
