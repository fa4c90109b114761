"""The ONNX file: it computes what torch computes at any size, holds all that is known, and is measured."""

import copy
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import ucc.export
from ucc.config import BACKBONES, ExportParams, ModelParams
from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError
from ucc.export import (
    ParityCase,
    check_parity,
    export_segmenter,
    export_verified,
    git_revision,
    measure_parity,
    parity_images,
    parity_report,
    parity_sizes,
    read_metrics,
)
from ucc.models import Segmenter, build_segmenter
from ucc.models.store import SegmenterFacts
from ucc.segmenter import Segmenter as ExportedSegmenter
from ucc.tiling import segment_tiles

CLASSES = ("road", "building", "sky", "car", "Fußgänger")
COLORS = ((128, 64, 128), (70, 70, 70), (70, 130, 180), (0, 0, 142), (220, 20, 60))
MODEL = ModelParams(backbone="resnet18", weights="none", output_stride=16, head="separable", head_width=16, dropout=0.1)
FACTS = SegmenterFacts("streets", CLASSES, COLORS, MODEL, 300, "0123abcd", "89abcdef", {"train": {"lr": 0.02}})
METRICS = {"head1": {"mean_iou": 0.5}}
PARAMS = ExportParams(opset=18, parity_images=2, max_disagreement=1e-3, max_uncertainty_error=1e-3)
# Multiples of the stride and not, smaller than the stride, one pixel; alone and in a batch.
SHAPES = ((1, 64, 96), (2, 65, 97), (1, 50, 33), (3, 31, 47), (1, 7, 5), (1, 1, 1))


class TinyEncoder(nn.Module):
    """Features at strides 4 and 8, cheap to export."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1))
        self.high = nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(images)
        return low, self.high(low)


class TinyHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(6, len(CLASSES), 1))

    def forward(self, features: tuple[Tensor, Tensor]) -> Tensor:
        low, high = features
        return self.classifier(low) + high.mean(dim=(1, 2, 3), keepdim=True)


def tiny_segmenter(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter([TinyEncoder()], [TinyHead(), TinyHead()], len(CLASSES))


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, so that neighbouring pixels resemble each other as in photographs."""
    noise = torch.rand(shape[0], 3, shape[1] // 8 + 2, shape[2] // 8 + 2, generator=torch.manual_seed(seed))
    smooth = nn.functional.interpolate(noise, size=shape[1:], mode="bicubic").clamp(0, 1)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def make_decided(segmenter: Segmenter) -> None:
    """Give random weights what training gives: BatchNorm statistics of the data, logits far from alike."""
    images = torch.from_numpy(random_images(4, 96, 96, seed=1)).permute(0, 3, 1, 2)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        segmenter.train()(images)
        scale = 3 / segmenter.eval()(images)[0].std()
        for parameter in segmenter.heads[0].classifier.parameters():
            parameter.mul_(scale)


def probabilities_in_float64(segmenter: Segmenter, pixels: Tensor) -> Tensor:
    exact = copy.deepcopy(segmenter).eval().double()
    scores = exact.heads[0](exact.encoders[0]((pixels.double() - exact.mean) / exact.std))
    return nn.functional.interpolate(scores, size=pixels.shape[2:], mode="bilinear").softmax(dim=1)


@torch.inference_mode()
def assert_same_as_torch(segmenter: Segmenter, path: Path, images: np.ndarray) -> None:
    """The file is about as near to the result in double precision as torch in single precision is.

    A hundred random layers amplify rounding far more than trained ones, so no fixed tolerance fits all backbones.
    Classes must agree wherever the two best differ by more than the rounding.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    exact = probabilities_in_float64(segmenter, pixels)
    rounding = float((segmenter.eval()(pixels)[0].softmax(dim=1) - exact).abs().max())
    assert rounding < 5e-3
    tolerance = 1e-6 + 4 * rounding
    best, second = exact.topk(2, dim=1).values.unbind(dim=1)
    decided = (best - second > 2 * tolerance).numpy()
    assert decided.mean() > 0.97

    found = ExportedSegmenter(path).segment_batch(images)
    assert found.classes.shape == found.uncertainty.shape == images.shape[:3]
    np.testing.assert_allclose(found.uncertainty, 1 - best.numpy(), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.classes[decided], exact.argmax(dim=1).numpy()[decided])


@pytest.fixture(scope="module")
def tiny() -> Segmenter:
    segmenter = tiny_segmenter()
    make_decided(segmenter)
    return segmenter


@pytest.fixture(scope="module")
def exported(tiny: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "segmenter.onnx"
    export_segmenter(tiny.train(), FACTS, METRICS, "c0ffee", path, opset=18)
    return path


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_file_computes_what_torch_computes_at_any_size(
    tiny: Segmenter, exported: Path, shape: tuple[int, int, int]
) -> None:
    assert_same_as_torch(tiny, exported, random_images(*shape))


@pytest.mark.slow
# ResNet-34 and -101 repeat the blocks of the other two.
@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"resnet34", "resnet101"}))
def test_each_kind_of_backbone_computes_what_torch_computes_at_any_size(backbone: str, tmp_path: Path) -> None:
    head, stride = ("dense", 8) if backbone in ("resnet18", "mobilenet_v2") else ("separable", 16)
    model = replace(MODEL, backbone=backbone, head=head, output_stride=stride)
    segmenter = build_segmenter(model, len(CLASSES), heads=2, seed=0)
    make_decided(segmenter)
    export_segmenter(segmenter, FACTS, METRICS, "c0ffee", tmp_path / "m.onnx", opset=18)
    for shape in SHAPES:
        assert_same_as_torch(segmenter, tmp_path / "m.onnx", random_images(*shape))


def test_batch_height_and_width_are_free_and_types_as_documented(exported: Path) -> None:
    graph = onnx.load(exported).graph

    def described(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
        tensor = value.type.tensor_type
        return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]

    free = ["batch", "height", "width"]
    assert [described(value) for value in graph.input] == [("image", onnx.TensorProto.UINT8, [*free, 3])]
    assert [described(value) for value in graph.output] == [
        ("classes", onnx.TensorProto.UINT8, free),
        ("uncertainty", onnx.TensorProto.FLOAT, free),
        ("logits", onnx.TensorProto.FLOAT, described(graph.output[2])[2]),
    ]
    assert described(graph.output[2])[2][:2] == ["batch", len(CLASSES)]


def test_the_metadata_hold_everything_known_about_the_model(exported: Path) -> None:
    segmenter = ExportedSegmenter(exported)
    metadata = segmenter.metadata
    assert segmenter.classes == CLASSES
    assert segmenter.colors == COLORS
    assert json.loads(metadata["params"]) == {"train": {"lr": 0.02}}
    assert json.loads(metadata["metrics"]) == METRICS
    assert json.loads(metadata["model"])["backbone"] == "resnet18"
    expected = {
        "ucc_format": "2",
        "ucc_version": ucc.__version__,
        "dataset": "streets",
        "ignore_index": "255",
        "step": "300",
        "fingerprint": "0123abcd",
        "manifest": "89abcdef",
        "git_revision": "c0ffee",
    }
    assert {key: metadata[key] for key in expected} == expected
    assert "1 - max_c softmax" in metadata["uncertainty"]


def test_one_file_holds_the_weights_of_head_1_and_nothing_of_this_machine(tiny: Segmenter, exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["segmenter.onnx"]
    weights = {
        tuple(weight.dims): onnx.numpy_helper.to_array(weight) for weight in onnx.load(exported).graph.initializer
    }
    np.testing.assert_array_equal(weights[5, 6, 1, 1], tiny.heads[0].classifier[1].weight.detach().numpy())
    content = exported.read_bytes()
    for trace in (b"heads.1", b"stack_trace", b".py", str(Path(ucc.__file__).parent).encode()):
        assert trace not in content


def test_of_two_networks_the_file_holds_the_first_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    twins = Segmenter([TinyEncoder(), TinyEncoder()], [TinyHead(), TinyHead()], len(CLASSES))
    alone = Segmenter([twins.encoders[0]], [twins.heads[0]], len(CLASSES))
    sizes = []
    for name, segmenter in (("twins", twins), ("alone", alone)):
        path = tmp_path / f"{name}.onnx"
        export_segmenter(segmenter, FACTS, METRICS, "c0ffee", path, opset=18)
        sizes.append(sum(onnx.numpy_helper.to_array(w).size for w in onnx.load(path).graph.initializer))
    assert sizes[0] == sizes[1]
    assert_same_as_torch(alone, tmp_path / "twins.onnx", random_images(1, 33, 47))


def test_the_same_segmenter_gives_the_same_bytes(tiny: Segmenter, exported: Path, tmp_path: Path) -> None:
    export_segmenter(tiny, FACTS, METRICS, "c0ffee", tmp_path / "again.onnx", opset=18)
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_an_opset_beyond_the_installed_onnx_names_its_key(tiny: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"export\.opset = 999"):
        export_segmenter(tiny, FACTS, METRICS, "c0ffee", tmp_path / "m.onnx", opset=999)


def test_a_newer_opset_works_too(tiny: Segmenter, tmp_path: Path) -> None:
    export_segmenter(tiny, FACTS, METRICS, "c0ffee", tmp_path / "m.onnx", opset=20)
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 20
    assert_same_as_torch(tiny, tmp_path / "m.onnx", random_images(2, 65, 97))


def test_parity_is_measured_at_every_size_alone_and_in_a_batch_of_two(tiny: Segmenter, exported: Path) -> None:
    images = [random_images(1, 40, 56)[0], random_images(1, 48, 64, seed=2)[0]]
    cases = measure_parity(tiny, exported, images, [(37, 53), (11, 15)])
    assert [case.name for case in cases] == ["1x40x56", "1x48x64", "1x37x53", "2x37x53", "1x11x15", "2x11x15"]
    assert max(case.disagreement for case in cases) < 1e-3
    assert max(case.max_uncertainty_error for case in cases) < 1e-5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_tile_over_the_whole_image_gives_what_the_whole_image_gives(
    exported: Path, shape: tuple[int, int, int]
) -> None:
    segmenter = ExportedSegmenter(exported)
    for image in random_images(*shape):
        whole = segmenter.segment(image)
        classes, uncertainty = segment_tiles(image, segmenter.logits, 128, 32)
        assert np.mean(classes != whole.classes) < 1e-3
        np.testing.assert_allclose(uncertainty, whole.uncertainty, rtol=0, atol=1e-5)


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


def test_a_file_within_the_bounds_is_left_in_place_and_reported(tiny: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "models" / "segmenter.onnx"
    images = list(random_images(2, 40, 56))
    cases = export_verified(tiny, FACTS, METRICS, "c0ffee", path, PARAMS, images)
    report = parity_report(cases, path, PARAMS.opset)
    assert {case.name for case in cases} == {"1x40x56", "1x37x53", "2x37x53", "1x11x15", "2x11x15"}
    assert report["cases"] == len(cases)
    assert report["megabytes"] == round(path.stat().st_size / 1e6, 2)
    assert [found.name for found in path.parent.iterdir()] == ["segmenter.onnx"]


def test_a_file_beyond_the_bounds_is_not_left_in_place(
    tiny: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_another(_: Segmenter, *rest: Any) -> None:
        export_segmenter(tiny_segmenter(seed=1), *rest)

    monkeypatch.setattr(ucc.export, "export_segmenter", export_another)
    path = tmp_path / "segmenter.onnx"
    with pytest.raises(UserError, match=r"disagreement .*export\.max_disagreement = 0\.001"):
        export_verified(tiny, FACTS, METRICS, "c0ffee", path, PARAMS, list(random_images(1, 40, 56)))
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("content", [None, "{", "[1, 2]"], ids=["missing", "broken", "list"])
def test_metrics_that_cannot_be_read_name_their_file_and_stage(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"evaluation\.json: .*`evaluate`"):
        read_metrics(path)


def test_the_revision_is_the_commit_marked_dirty_once_code_or_parameters_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments: str) -> str:
        command = [
            "git",
            "-C",
            str(tmp_path),
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_revision(tmp_path) == "unknown"
    git("init")
    assert git_revision(tmp_path) == "unknown"
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "dvc.lock").write_text("a: 1\n")
    git("add", ".")
    git("commit", "-m", "first", "--no-verify", "--no-gpg-sign")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "dvc.lock").write_text("a: 2\n")
    assert git_revision(tmp_path) == commit
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert git_revision(tmp_path) == f"{commit}-dirty"
    git("checkout", "params.yaml")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "new.py").write_text("")
    assert git_revision(tmp_path) == f"{commit}-dirty"


def test_without_the_program_git_the_revision_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision(tmp_path) == "unknown"
