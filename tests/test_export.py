"""The ONNX file: it computes what torch computes at any size, holds all that is known, and is measured."""

import copy
import json
import runpy
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tiny import REPOSITORY, prepare_stage
from tiny_segmenter import (
    CLASSES,
    COLORS,
    FACTS,
    METRICS,
    MODEL,
    SHAPES,
    TinyEncoder,
    TinyHead,
    make_decided,
    random_images,
    tiny_segmenter,
)
from torch import Tensor, nn

import ucc.export
from ucc import paths
from ucc.config import BACKBONES, ExportParams, Params, QuantizeParams
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.export import (
    ExportedGraph,
    export_segmenter,
    export_verified,
    git_revision,
    read_metrics,
    with_all_params,
)
from ucc.files import sweep, write_json
from ucc.inference import predict, uncertainty
from ucc.models import Segmenter, build_segmenter
from ucc.models.store import save_segmenter
from ucc.parity import ParityCase, measure_parity, parity_report
from ucc.segmenter import Segmenter as ExportedSegmenter
from ucc.tiling import segment_tiles

QUANTIZE = QuantizeParams(enabled=False, calibration_images=1, max_miou_drop=0)
PARAMS = ExportParams(opset=18, parity_images=2, max_disagreement=1e-3, max_uncertainty_error=1e-3, quantize=QUANTIZE)


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


def test_activations_write_in_place_but_while_the_graph_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = tiny_segmenter()
    activations = nn.Sequential(nn.ReLU(inplace=True), nn.Hardswish(inplace=False))
    segmenter.heads[0].add_module("activations", activations)
    traced = []

    def fail(graph: nn.Module, *_: Any, **__: Any) -> None:
        traced.extend(part.inplace for part in graph.modules() if "inplace" in vars(part))
        raise RuntimeError("no graph")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(RuntimeError, match="no graph"):
        export_segmenter(segmenter, FACTS, METRICS, "c0ffee", tmp_path / "m.onnx", opset=18)
    assert set(traced) == {False}
    assert [part.inplace for part in activations] == [True, False]


def test_uncertainty_from_one_sum_is_that_of_the_softmax(tiny: Segmenter) -> None:
    images = torch.from_numpy(random_images(2, 33, 47))
    with torch.inference_mode():
        classes, unsure, logits = ExportedGraph(tiny).eval()(images)
        probabilities = predict(tiny, images.permute(0, 3, 1, 2))[0]
        assert torch.equal(classes, probabilities.argmax(dim=1).to(torch.uint8))
        torch.testing.assert_close(unsure, uncertainty(probabilities), rtol=0, atol=1e-6)
        assert logits.abs().max() > 1  # far from alike, or the two would agree whatever is computed


def test_scores_beyond_the_range_of_exp_give_a_certain_pixel_and_no_nan(tmp_path: Path) -> None:
    segmenter = tiny_segmenter()
    nn.init.zeros_(segmenter.heads[0].classifier[1].weight)
    segmenter.heads[0].classifier[1].bias.data = torch.tensor([-500.0, 0.0, 500.0, 0.0, 0.0])
    export_segmenter(segmenter, FACTS, METRICS, "c0ffee", tmp_path / "m.onnx", opset=18)
    found = ExportedSegmenter(tmp_path / "m.onnx").segment(random_images(1, 8, 8)[0])
    assert set(found.classes.flat) == {2}
    np.testing.assert_allclose(found.uncertainty, 0, atol=1e-6)


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


def test_parameters_of_training_are_those_of_the_checkpoint_and_all_others_those_of_today(
    tiny_params: Callable[..., Params],
) -> None:
    """A checkpoint of an earlier version holds all sections, as they were then."""
    before, now = tiny_params(), tiny_params("export.opset=20", "evaluate.panels=1", "train.lr=0.5")
    complete = with_all_params(replace(FACTS, params=asdict(before)), now)
    assert complete.params == asdict(now) | {"train": asdict(before.train)}
    assert list(complete.params) == list(asdict(now))


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
    serialized = ucc.export._serialized

    def another(_: Segmenter, *rest: Any) -> bytes:
        return serialized(tiny_segmenter(seed=1), *rest)

    monkeypatch.setattr(ucc.export, "_serialized", another)
    path = tmp_path / "segmenter.onnx"
    with pytest.raises(UserError, match=r"disagreement .*export\.max_disagreement = 0\.001"):
        export_verified(tiny, FACTS, METRICS, "c0ffee", path, PARAMS, list(random_images(1, 40, 56)))
    assert not list(tmp_path.iterdir())


def test_a_stage_that_starts_meanwhile_does_not_sweep_away_what_is_being_compared(
    tiny: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(segmenter: Segmenter, path: Path, *rest: Any) -> list[ParityCase]:
        sweep(tmp_path)
        return measure_parity(segmenter, path, *rest)

    monkeypatch.setattr(ucc.export, "measure_parity", measured)
    export_verified(tiny, FACTS, METRICS, "c0ffee", tmp_path / "segmenter.onnx", PARAMS, list(random_images(1, 40, 56)))
    assert [found.name for found in tmp_path.iterdir()] == ["segmenter.onnx"]


@pytest.mark.parametrize("content", [None, "{", "[1, 2]"], ids=["missing", "broken", "list"])
def test_metrics_that_cannot_be_read_name_their_file_and_stage(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"evaluation\.json: .*`evaluate`"):
        read_metrics(path, FACTS)


@pytest.mark.parametrize("other", [{"fingerprint": "4567cdef"}, {"step": 200}, {"step": None}], ids=str)
def test_figures_of_another_segmenter_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    path, own = tmp_path / "evaluation.json", METRICS | {"fingerprint": FACTS.fingerprint, "step": FACTS.step}
    path.write_text(json.dumps(own))
    assert read_metrics(path, FACTS) == own
    path.write_text(json.dumps(own | other))
    told = r"evaluation\.json: measured of run .*, while .* run 0123abcd after step 300\. Run the stage `evaluate`"
    with pytest.raises(UserError, match=told):
        read_metrics(path, FACTS)


def test_the_stage_exports_no_checkpoint_of_other_data_nor_with_figures_of_another_one(
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare_stage(tmp_path, tiny_dataset, tiny_manifest)
    monkeypatch.chdir(tmp_path)
    params, info = tiny_params(), DatasetInfo.read(tiny_dataset)
    own = replace(FACTS, model=params.model, classes=info.classes, manifest=tiny_manifest.hash)
    main = runpy.run_path(str(REPOSITORY / "pipeline/export.py"))["main"]
    write_json(paths.METRICS, METRICS | {"fingerprint": FACTS.fingerprint, "step": FACTS.step})
    unlike = r"evaluation\.json: measured of run 0123abcd after step 300, .*after step {}\. .*stage `evaluate`"
    for checkpoint, path, facts, told in (
        ("final", paths.FINAL, replace(own, manifest=FACTS.manifest), r"final\.pt: .*partition 89abcdef, .*`train`"),
        ("final", paths.FINAL, replace(own, step=200), unlike.format(200)),
        ("best", paths.BEST, replace(own, step=100), unlike.format(100)),
    ):
        save_segmenter(path, build_segmenter(params.model, len(info.classes), heads=1, seed=0), facts)
        params.evaluate.checkpoint = checkpoint
        with pytest.raises(UserError, match=told):
            main(params)
    assert {*paths.FINAL.parent.iterdir()} == {paths.FINAL, paths.BEST}


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
