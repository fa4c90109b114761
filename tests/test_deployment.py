"""The exported file beside its quantised twin: what is measured, and when the twin is not kept."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from brightest_model import METADATA, write_model
from tiny import COLORS
from tiny_segmenter import FACTS, METRICS, make_decided, random_images, tiny_segmenter
from torch import nn

from ucc import deployment
from ucc.config import Params, QuantizeParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import read_image, write_png
from ucc.data.manifest import Manifest, Sample
from ucc.deployment import deploy, measure_latency, measure_miou, why_refused
from ucc.errors import UserError
from ucc.evaluation import evaluate
from ucc.export import export_segmenter
from ucc.models import Segmenter
from ucc.segmenter import Segmenter as ExportedSegmenter

LENIENT = QuantizeParams(enabled=True, calibration_images=4, max_miou_drop=100)


@pytest.fixture(scope="module")
def trained() -> Segmenter:
    """A segmenter for the three classes of the tiny data set."""
    segmenter = tiny_segmenter()
    for head in segmenter.heads:
        head.classifier[1] = nn.Conv2d(6, 3, 1)
    segmenter.num_classes = 3
    make_decided(segmenter)
    return segmenter


@pytest.fixture(scope="module")
def float_file(trained: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deploy") / "segmenter.onnx"
    facts = replace(FACTS, classes=("red", "green", "blue"), colors=COLORS)
    export_segmenter(trained, facts, METRICS | {"split": "test"}, "c0ffee", path, opset=18)
    return path


def val_image(tiny_dataset: Path, tiny_manifest: Manifest) -> np.ndarray:
    return read_image(tiny_dataset / tiny_manifest.subset("val")[0].image)


def test_a_file_that_is_good_enough_lies_in_the_folder_with_the_figures_of_both(
    float_file: Path, tiny_dataset: Path, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    image = val_image(tiny_dataset, tiny_manifest)
    deployed = deploy(float_file, tmp_path / "int8", tiny_dataset, tiny_manifest, image, LENIENT)
    assert [path.name for path in (tmp_path / "int8").iterdir()] == ["segmenter.onnx"]
    kept = tmp_path / "int8/segmenter.onnx"
    assert ExportedSegmenter(kept).metadata["quantized"] == "int8"
    samples, info = tiny_manifest.subset("val"), DatasetInfo.read(tiny_dataset)
    expected = measure_miou([float_file, kept], tiny_dataset, samples, info)
    metrics = deployed.metrics()
    assert metrics["miou"] == round(expected[0], 4)
    assert ExportedSegmenter(kept).miou == round(expected[1], 4)
    assert ExportedSegmenter(float_file).miou == METRICS["miou"]
    assert [ExportedSegmenter(file).miou_split for file in (float_file, kept)] == ["test", "val"]
    assert metrics["int8"] == {
        "kept": True,
        "miou": round(expected[1], 4),
        "miou_drop": round(expected[0] - expected[1], 4),
        "megabytes": round(kept.stat().st_size / 1e6, 2),
    }
    latency = deployed.latency()
    assert list(latency) == ["float_ms", "int8_ms", "threads", "height", "width"]
    assert min(latency["float_ms"], latency["int8_ms"]) > 0
    assert (latency["threads"], latency["height"], latency["width"]) == (1, *image.shape[:2])
    json.dumps([metrics, latency], allow_nan=False)
    assert [line.split()[0] for line in deployed.table().splitlines()] == ["mIoU", "float", "int8"]


def test_a_file_beyond_the_bound_is_not_kept_nor_an_older_one_and_a_sentence_says_why(
    float_file: Path, tiny_dataset: Path, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    image, folder = val_image(tiny_dataset, tiny_manifest), tmp_path / "int8"
    deploy(float_file, folder, tiny_dataset, tiny_manifest, image, LENIENT)
    assert (folder / "segmenter.onnx").is_file()
    impossible = replace(LENIENT, max_miou_drop=-100.5)
    deployed = deploy(float_file, folder, tiny_dataset, tiny_manifest, image, impossible)
    assert [path.name for path in folder.iterdir()] == ["why_absent.txt"]
    sentence = (folder / "why_absent.txt").read_text(encoding="utf-8")
    assert sentence == f"{deployed.why_absent}\n"
    assert "points of mIoU on val" in sentence
    assert "export.quantize.max_miou_drop = -100.5" in sentence
    metrics = deployed.metrics()["int8"]
    assert metrics["kept"] is False
    assert metrics["miou"] >= 0
    assert "int8_ms" in deployed.latency()


def test_a_loss_of_the_bound_itself_is_allowed_and_nan_is_not() -> None:
    assert why_refused(60.0, 59.5, 0.5) is None
    assert why_refused(60.0, 61.0, 0.0) is None
    assert why_refused(60.0, 59.0, 0.5) == (
        "Quantised, the model loses 1.00 points of mIoU on val (60.00 to 59.00), "
        "more than export.quantize.max_miou_drop = 0.5."
    )
    assert why_refused(60.0, float("nan"), 100.0)


def test_where_it_is_disabled_nothing_is_quantised_and_the_folder_says_so(
    float_file: Path, tiny_dataset: Path, tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "quantize", None)
    folder, image = tmp_path / "int8", val_image(tiny_dataset, tiny_manifest)
    folder.mkdir()
    (folder / "segmenter.onnx").write_bytes(b"of an earlier run")
    params = replace(LENIENT, enabled=False)
    deployed = deploy(float_file, folder, tiny_dataset, tiny_manifest, image, params)
    assert [path.name for path in folder.iterdir()] == ["why_absent.txt"]
    assert (folder / "why_absent.txt").read_text(encoding="utf-8") == "export.quantize.enabled is false.\n"
    assert deployed.metrics()["int8"] == {"kept": False}
    assert set(deployed.latency()) == {"float_ms", "threads", "height", "width"}


def test_val_decides_alone_whether_and_training_images_alone_how(
    float_file: Path, tiny_dataset: Path, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    """Other pictures in val change of the file the mIoU that it tells; masks of training images need not exist."""
    other = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, other)
    shutil.rmtree(other / "masks/train")
    for sample in tiny_manifest.subset("val"):
        extreme = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (40, 48, 3))
        write_png(other / sample.image, extreme)  # beyond the range of every training image
    image = val_image(tiny_dataset, tiny_manifest)
    everything = replace(LENIENT, calibration_images=100)
    for name, dataset in (("a", tiny_dataset), ("b", other)):
        deploy(float_file, tmp_path / name, dataset, tiny_manifest, image, everything)
    a, b = (onnx.load(tmp_path / name / "segmenter.onnx") for name in ("a", "b"))
    assert a.graph.SerializeToString(deterministic=True) == b.graph.SerializeToString(deterministic=True)
    told, other_told = ({entry.key: entry.value for entry in model.metadata_props} for model in (a, b))
    assert {key for key in told if told[key] != other_told[key]} <= {"quantized_miou"}


def test_an_error_on_the_way_leaves_the_folder_as_it_was(
    float_file: Path, tiny_dataset: Path, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    folder = tmp_path / "models/int8"
    folder.mkdir(parents=True)
    (folder / "why_absent.txt").write_text("before")
    broken = Manifest([*tiny_manifest.samples, Sample("val/gone", "images/gone.png", "masks/gone.png", "val")])
    with pytest.raises(UserError, match=r"gone\.png"):
        deploy(float_file, folder, tiny_dataset, broken, val_image(tiny_dataset, tiny_manifest), LENIENT)
    assert [path.name for path in folder.parent.rglob("*")] == ["int8", "why_absent.txt"]


def test_the_files_miou_is_that_of_evaluate(
    trained: Segmenter,
    float_file: Path,
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
) -> None:
    samples, info = tiny_manifest.subset("val"), DatasetInfo.read(tiny_dataset)
    expected = evaluate(trained, samples, tiny_dataset, info, tiny_params().evaluate, torch.device("cpu"), False)
    (found,) = measure_miou([float_file], tiny_dataset, samples, info)
    assert found == pytest.approx(expected.miou()["head_1"], abs=0.1)


def test_miou_is_over_every_val_image_and_leaves_unlabelled_pixels_aside(tmp_path: Path) -> None:
    """Two images; class by the brightest channel: the first all right, of the second a quarter, half of it ignored."""
    info = DatasetInfo("tiny", ("red", "green", "blue"), COLORS)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    masks = np.zeros((4, 4), np.uint8), np.full((4, 4), 1, np.uint8)
    masks[1][0], masks[1][2:] = 0, 255
    samples = [Sample(f"val/{n}", f"{n}.png", f"m{n}.png", "val") for n in range(2)]
    for sample, mask in zip(samples, masks, strict=True):
        write_png(tmp_path / sample.image, red)
        write_png(tmp_path / sample.mask, mask)
    path = write_model(tmp_path / "m.onnx", METADATA)
    # Red: 20 pixels right, 4 of the truth green; green: none right of 4; blue does not occur.
    assert measure_miou([path, path], tmp_path, samples, info) == pytest.approx([100 * 20 / 24 / 2] * 2)


def test_without_val_there_is_nothing_to_measure_on(float_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image to measure on"):
        measure_miou([float_file], tmp_path, [], DatasetInfo("tiny", ("red", "green", "blue"), COLORS))


def test_milliseconds_are_the_median_of_turns_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    class Fake:
        def __init__(self, path: str, threads: int) -> None:
            assert threads == 1
            self.path = path

        def segment(self, _: np.ndarray) -> None:
            turns.append(self.path)

    clock = iter([0.0, *(0, 1, 0, 10), 0, *(0, 2, 0, 30), 0, *(0, 9, 0, 20)])
    monkeypatch.setattr(deployment, "Segmenter", Fake)
    monkeypatch.setattr(deployment, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    assert measure_latency(["a", "b"], random_images(1, 8, 8)[0], rounds=(1, 3)) == [2000, 20000]
    assert "".join(turns) == "ab" + "ababab"  # once each to warm up
