"""How far the file differs from torch: what is compared, where, and what happens beyond the bounds."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_segmenter import make_decided, random_images, tiny_segmenter
from torch import nn

from ucc.config import ExportParams, QuantizeParams
from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError
from ucc.models import Segmenter
from ucc.parity import (
    ParityCase,
    _batches,
    check_parity,
    measure_parity,
    parity_images,
    parity_report,
    parity_sizes,
)
from ucc.segmenter import Segmenter as ExportedSegmenter

QUANTIZE = QuantizeParams(enabled=False, calibration_images=1, max_miou_drop=0)
PARAMS = ExportParams(opset=18, parity_images=2, max_disagreement=1e-3, max_uncertainty_error=1e-3, quantize=QUANTIZE)


def test_parity_is_measured_at_every_size_alone_and_in_a_batch_of_two(tiny: Segmenter, exported: Path) -> None:
    images = [random_images(1, 40, 56)[0], random_images(1, 48, 64, seed=2)[0]]
    cases = measure_parity(tiny, exported, images, [(37, 53), (11, 15)])
    assert [case.name for case in cases] == ["1x40x56", "1x48x64", "1x37x53", "2x37x53", "1x11x15", "2x11x15"]
    assert max(case.disagreement for case in cases) < 1e-3
    assert max(case.max_uncertainty_error for case in cases) < 1e-5


def test_parity_sees_logits_that_are_not_those_of_the_class_map(
    tiny: Segmenter, exported: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported)
    (node,) = (node for node in model.graph.node if "logits" in node.output)
    node.output[list(node.output).index("logits")] = "true_logits"
    for other in model.graph.node:
        other.input[:] = ["true_logits" if name == "logits" else name for name in other.input]
    model.graph.node.append(onnx.helper.make_node("Neg", ["true_logits"], ["logits"]))
    onnx.save(model, tmp_path / "wrong.onnx")
    (case,) = measure_parity(tiny, tmp_path / "wrong.onnx", [random_images(1, 40, 56)[0]], [])
    assert case.disagreement > 0.1
    assert case.max_uncertainty_error > 0.01


def test_parity_counts_the_pixels_whose_class_differs(exported: Path) -> None:
    other = tiny_segmenter(seed=1)
    make_decided(other)
    image = random_images(1, 40, 56)
    with torch.inference_mode():
        expected = other(torch.from_numpy(image).permute(0, 3, 1, 2))[0].softmax(dim=1)
    found = ExportedSegmenter(exported).segment(image[0])
    (case,) = measure_parity(other, exported, [image[0]], [])
    assert case.disagreement == (found.classes != expected.argmax(dim=1)[0].numpy()).mean() > 0.1
    error = np.abs(found.uncertainty - (1 - expected.amax(dim=1)[0].numpy())).max()
    assert case.max_uncertainty_error == pytest.approx(error, abs=1e-6)


def test_parity_does_not_lose_a_nan(exported: Path) -> None:
    diverged = tiny_segmenter()
    nn.init.constant_(diverged.encoders[0].high.bias, float("nan"))
    cases = measure_parity(diverged, exported, list(random_images(2, 40, 56)), [])
    assert np.isnan(cases[0].max_uncertainty_error)


@pytest.mark.parametrize("bad", [2e-3, float("nan")])
def test_the_worst_case_decides_and_names_its_size_and_bound(bad: float) -> None:
    good = ParityCase(1, 40, 56, disagreement=1e-3, max_uncertainty_error=1e-3)
    check_parity([good], PARAMS)
    with pytest.raises(UserError, match=r"disagreement .* at 2x11x15, .*export\.max_disagreement"):
        check_parity([good, ParityCase(2, 11, 15, bad, 0.0)], PARAMS)
    with pytest.raises(UserError, match=r"uncertainty error .* at 2x11x15, .*export\.max_uncertainty_error"):
        check_parity([good, ParityCase(2, 11, 15, 0.0, bad)], PARAMS)


@pytest.mark.parametrize(("height", "width"), [(128, 256), (360, 480), (33, 21), (3, 2)])
def test_the_sizes_measured_are_odd_and_no_larger_than_the_image(height: int, width: int) -> None:
    for size in parity_sizes(height, width):
        for length, own in zip(size, (height, width), strict=True):
            assert length % 2 == 1
            assert 1 <= length <= own


def test_parity_images_are_spread_over_the_validation_images(tmp_path: Path) -> None:
    samples = [Sample(f"val/{i}", f"images/val/{i}.png", "", "val") for i in range(8)]
    samples.append(Sample("train/0", "images/train/0.png", "", "unlabeled"))
    for sample in samples[:8]:
        write_png(tmp_path / sample.image, np.full((4, 4, 3), int(sample.id[-1]), np.uint8))
    manifest = Manifest(samples)
    assert [image[0, 0, 0] for image in parity_images(tmp_path, manifest, 4)] == [0, 2, 4, 6]
    assert len(parity_images(tmp_path, manifest, 100)) == 8


def test_a_manifest_without_validation_images_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image of the subset val"):
        parity_images(tmp_path, Manifest([Sample("train/0", "images/train/0.png", "", "labeled")]), 4)


def test_the_two_images_of_a_batch_differ_even_where_there_is_but_one() -> None:
    first, second = random_images(2, 40, 56)
    for images in ([first], [first, second]):
        *_, pair = _batches(images, [(37, 53)])
        assert pair.shape == (2, 37, 53, 3)
        assert not np.array_equal(*pair)


def test_a_case_tells_of_the_share_over_all_images_and_of_the_largest_error(exported: Path) -> None:
    other = tiny_segmenter(seed=1)
    make_decided(other)
    images = list(random_images(2, 40, 56))
    alone = [measure_parity(other, exported, [image], [])[0] for image in images]
    (both,) = measure_parity(other, exported, images, [])
    assert alone[0].max_uncertainty_error != alone[1].max_uncertainty_error
    assert both.max_uncertainty_error == max(case.max_uncertainty_error for case in alone)
    assert both.disagreement == pytest.approx(np.mean([case.disagreement for case in alone]))


def test_the_report_holds_the_worst_figures_and_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "segmenter.onnx"
    path.write_bytes(bytes(3_456_789))
    cases = [ParityCase(1, 8, 8, 1e-4, 3e-4), ParityCase(2, 9, 9, 2e-4, 1e-4)]
    figures = {"disagreement": 2e-4, "max_uncertainty_error": 3e-4}
    assert parity_report(cases, path, 18) == figures | {"megabytes": 3.46, "opset": 18, "cases": 2}


def test_a_segmenter_is_compared_as_it_is_evaluated_whatever_its_mode(tiny: Segmenter, exported: Path) -> None:
    training = deepcopy(tiny).train()
    (case,) = measure_parity(training, exported, [random_images(1, 40, 56)[0]], [])
    assert case.max_uncertainty_error < 1e-5
    assert training.training


def test_each_figure_is_held_against_its_own_bound() -> None:
    params = replace(PARAMS, max_disagreement=0.1, max_uncertainty_error=0.01)
    check_parity([ParityCase(1, 8, 8, 0.05, 0.005)], params)
    with pytest.raises(UserError, match=r"uncertainty error 0\.05 .*export\.max_uncertainty_error = 0\.01"):
        check_parity([ParityCase(1, 8, 8, 0.05, 0.05)], params)
    with pytest.raises(UserError, match=r"disagreement 0\.2 .*export\.max_disagreement = 0\.1"):
        check_parity([ParityCase(1, 8, 8, 0.2, 0.005)], params)
