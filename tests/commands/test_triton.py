"""`ucc triton`: a model repository that follows the rules of Triton Inference Server."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from brightest_model import METADATA, write_model
from google.protobuf import text_format

from ucc.cli import main
from ucc.segmenter import Segmenter

NAMES = ["red", 'the "green"\\', "größer"]


def load_model_config() -> ModuleType:
    """Triton's own schema, as tritonclient brings it; its package `grpc` would need grpcio, the schema does not."""
    package = importlib.util.find_spec("tritonclient")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "grpc/model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCHEMA = load_model_config()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "segmenter.onnx", METADATA | {"classes": json.dumps(NAMES), "git_revision": "abc"})


def read(folder: Path) -> Any:
    """Parsed as Triton does: what the schema does not know is an error."""
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), SCHEMA.ModelConfig())


def test_the_repository_has_the_layout_and_the_configuration_that_triton_asks_for(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "triton"
    assert main(["triton", str(model), "--out", str(out), "--max-batch", "4", "--threads", "2", "--device", "cpu"]) == 0
    folder = out / "segmenter"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {"segmenter/config.pbtxt", "segmenter/1/model.onnx"}
    assert (folder / "1/model.onnx").read_bytes() == model.read_bytes()

    config = read(folder)
    assert config.name == folder.name
    assert (config.backend, config.default_model_filename or "model.onnx") == ("onnxruntime", "model.onnx")
    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, SCHEMA.ModelInstanceGroup.KIND_CPU)
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters.pop("intra_op_thread_count") == "2"
    assert json.loads(parameters.pop("classes")) == NAMES
    assert [tuple(color) for color in json.loads(parameters.pop("colors"))] == list(Segmenter(model).colors)
    assert parameters == {}


def test_names_types_and_dims_are_those_of_the_graph_without_its_batch(model: Path, tmp_path: Path) -> None:
    assert main(["triton", str(model), "--out", str(tmp_path / "triton")]) == 0
    config = read(tmp_path / "triton/segmenter")
    graph = onnx.load(model).graph
    types = {onnx.TensorProto.UINT8: SCHEMA.TYPE_UINT8, onnx.TensorProto.FLOAT: SCHEMA.TYPE_FP32}
    for told, tensors in ((config.input, graph.input), (config.output, graph.output)):
        assert [t.name for t in told] == [t.name for t in tensors]
        for found, tensor in zip(told, tensors, strict=True):
            batch, *sizes = tensor.type.tensor_type.shape.dim
            assert batch.dim_param  # full shape: [-1] + dims
            assert list(found.dims) == [size.dim_value or -1 for size in sizes]
            assert found.data_type == types[tensor.type.tensor_type.elem_type]
    assert list(config.input[0].dims) == [-1, -1, 3]
    assert config.max_batch_size >= 1


def test_what_is_told_to_be_batched_runs_in_a_batch(model: Path, tmp_path: Path) -> None:
    assert main(["triton", str(model), "--out", str(tmp_path / "triton")]) == 0
    batch = np.random.default_rng(0).integers(0, 256, (read(tmp_path / "triton/segmenter").max_batch_size, 5, 7, 3))
    found = Segmenter(tmp_path / "triton/segmenter/1/model.onnx").segment_batch(batch.astype(np.uint8))
    np.testing.assert_array_equal(found.classes, batch.argmax(axis=3))


def test_its_own_repository_is_replaced_and_other_models_in_it_stay(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "triton"
    other = out / "other/config.pbtxt"
    other.parent.mkdir(parents=True)
    other.write_text('name: "other"')
    for size in ("2", "3"):
        assert main(["triton", str(model), "--out", str(out), "--max-batch", size]) == 0
        assert read(out / "segmenter").max_batch_size == int(size)
    assert sorted(path.name for path in out.iterdir()) == ["other", "segmenter"]
    assert other.read_text() == 'name: "other"'


@pytest.mark.parametrize("content", [None, 'name: "segmenter"\n'])
def test_a_folder_that_it_did_not_write_is_left_alone(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    folder = tmp_path / "triton/segmenter"
    folder.mkdir(parents=True)
    (folder / ("config.pbtxt" if content else "mine.txt")).write_text(content or "mine")
    assert main(["triton", str(model), "--out", str(tmp_path / "triton")]) == 1
    assert f"{folder}: not written by this command" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 1
    assert main(["triton", str(model), "--out", str(tmp_path / "triton"), "--name", "streets-2"]) == 0
    assert read(tmp_path / "triton/streets-2").name == "streets-2"


def test_what_cannot_be_served_leaves_nothing_behind(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = onnx.load(model)
    fixed.graph.output[1].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, tmp_path / "fixed.onnx")
    out = tmp_path / "triton"
    for arguments, message in (
        ([str(tmp_path / "nowhere.onnx")], "nowhere.onnx: no such file"),
        ([str(tmp_path / "fixed.onnx")], "uncertainty has a batch of 1"),
        ([str(model), "--name", "../up"], "--name '../up'"),
    ):
        assert main(["triton", *arguments, "--out", str(out)]) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()
