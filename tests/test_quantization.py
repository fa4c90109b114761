"""The file in 8 bits: what is quantised and what not, on which images, and that it is one file like the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from tiny_segmenter import CLASSES, random_images

from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError
from ucc.quantization import calibration_samples, quantize
from ucc.segmenter import Segmenter

# The weights of the tiny segmenter's four convolutions, in the order of the file, and whether they are quantised.
FLOAT_CONVOLUTIONS = {0, 3}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """A data set of four pictures of different sizes and its samples; there are no masks."""
    folder = tmp_path_factory.mktemp("photographs")
    samples = []
    for index, size in enumerate([(40, 56), (48, 64), (33, 47), (64, 40)]):
        samples.append(Sample(f"train/{index}", f"{index}.png", f"masks/{index}.png", "unlabeled"))
        write_png(folder / samples[-1].image, random_images(1, *size, seed=index)[0])
    return folder, samples


@pytest.fixture(scope="module")
def quantized(exported: Path, photographs: tuple[Path, list[Sample]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "segmenter.onnx"
    quantize(exported, path, *photographs)
    return path


def test_all_convolutions_but_the_first_and_the_last_compute_on_unsigned_bytes_with_signed_weights(
    exported: Path, quantized: Path
) -> None:
    graph = onnx.load(quantized).graph
    producers = {name: node for node in graph.node for name in node.output}
    weights = {weight.name: weight for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in onnx.load(exported).graph.node) == 4
    for index, node in enumerate(convolutions):
        if index in FLOAT_CONVOLUTIONS:
            assert weights[node.input[1]].data_type == TensorProto.FLOAT
            continue
        for name, kind in zip(node.input[:2], (TensorProto.UINT8, TensorProto.INT8), strict=True):
            assert producers[name].op_type == "DequantizeLinear"
            assert weights[producers[name].input[2]].data_type == kind
        kernels = weights[producers[node.input[1]].input[0]]
        scales = weights[producers[node.input[1]].input[1]]
        assert list(scales.dims) == [kernels.dims[0]]  # one for each output channel
    others = {node.op_type for node in graph.node} - {"Conv", "QuantizeLinear", "DequantizeLinear"}
    assert {"Resize", "Exp", "ReduceSum", "ArgMax"} <= others
    assert not any(operator.startswith(("QLinear", "Integer")) for operator in others)


def test_a_relu_is_the_lower_end_of_the_stored_range_of_its_convolution(exported: Path, tmp_path: Path) -> None:
    """Three convolutions in a row, a ReLU after the second, which is the quantised one."""
    model = onnx.load(exported)
    del model.graph.node[:]
    del model.graph.initializer[:]
    kernel = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "kernel")
    signed = numpy_helper.from_array(np.diag([1.0, -1.0, 1.0]).astype(np.float32)[:, :, None, None], "signed")
    model.graph.initializer.extend([kernel, signed])
    make = onnx.helper.make_node
    model.graph.node.extend(
        [
            make("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            make("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            make("Conv", ["planes", "kernel"], ["a"], name="first"),
            make("Conv", ["a", "signed"], ["b"], name="second"),
            make("Relu", ["b"], ["c"], name="relu"),
            make("Conv", ["c", "kernel"], ["logits"], name="third"),
        ]
    )
    del model.graph.output[:2]
    del model.graph.output[0].type.tensor_type.shape.dim[1:]
    model.graph.output[0].type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension()] * 3)
    onnx.save(model, tmp_path / "float.onnx")
    image = random_images(1, 16, 16)
    write_png(tmp_path / "0.png", image[0])
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", tmp_path, [Sample("train/0", "0.png", "", "labeled")])
    assert "Relu" not in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    found = Segmenter(tmp_path / "int8.onnx").logits(image)
    expected = Segmenter(tmp_path / "float.onnx").logits(image)
    assert expected[:, 1].max() == 0 < expected[:, 0].max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=3)  # of 255


def test_it_is_the_same_segmenter_for_its_reader_and_says_that_it_is_quantised(exported: Path, quantized: Path) -> None:
    before, after = Segmenter(exported), Segmenter(quantized, tile=96, overlap=32)
    assert after.metadata == before.metadata | {"quantized": "int8"}
    assert "quantized" not in before.metadata
    assert after.classes == CLASSES
    image = random_images(1, 120, 130, seed=7)[0]
    for size in ((120, 130), (64, 64)):  # in tiles, and whole
        part = np.ascontiguousarray(image[: size[0], : size[1]])
        found, expected = after.segment(part), before.segment(part)
        assert found.classes.shape == size
        assert np.mean(found.uncertainty != expected.uncertainty) > 0
        assert np.mean(found.classes == expected.classes) > 0.9
        assert np.abs(found.uncertainty - expected.uncertainty).mean() < 0.05


def test_the_same_images_give_the_same_bytes_in_every_process(
    exported: Path, quantized: Path, photographs: tuple[Path, list[Sample]], tmp_path: Path
) -> None:
    folder, samples = photographs
    code = (
        "import json, sys; from pathlib import Path; from ucc.data.manifest import Sample;"
        "from ucc.quantization import quantize;"
        "quantize(*map(Path, sys.argv[1:4]), [Sample(*sample) for sample in json.loads(sys.argv[4])])"
    )
    rows = json.dumps([[sample.id, sample.image, sample.mask, sample.subset] for sample in samples])
    for seed in ("1", "2"):  # of Python's hashes, by which sets are ordered
        target = tmp_path / f"{seed}.onnx"
        arguments = [sys.executable, "-c", code, str(exported), str(target), str(folder), rows]
        subprocess.run(arguments, env=os.environ | {"PYTHONHASHSEED": seed}, check=True)
        assert target.read_bytes() == quantized.read_bytes()


def test_other_images_give_other_ranges(
    exported: Path, quantized: Path, photographs: tuple[Path, list[Sample]], tmp_path: Path
) -> None:
    folder, samples = photographs
    quantize(exported, tmp_path / "other.onnx", folder, samples[:1])
    assert (tmp_path / "other.onnx").read_bytes() != quantized.read_bytes()


def test_of_a_large_image_the_middle_counts(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ucc.quantization.TILE", 32)
    sample = Sample("train/0", "0.png", "", "labeled")
    image = random_images(1, 64, 96)[0]
    files = []
    for name, pixels in (("whole", image), ("middle", image[16:48, 32:64]), ("corner", image[:32, :32])):
        write_png(tmp_path / name / "0.png", pixels)
        files.append(tmp_path / f"{name}.onnx")
        quantize(exported, files[-1], tmp_path / name, [sample])
    whole, middle, corner = (file.read_bytes() for file in files)
    assert whole == middle != corner


def test_nothing_is_left_beside_the_file_nor_where_an_image_cannot_be_read(
    exported: Path, quantized: Path, tmp_path: Path
) -> None:
    assert [path.name for path in quantized.parent.iterdir()] == ["segmenter.onnx"]
    assert [path.name for path in exported.parent.iterdir()] == ["segmenter.onnx"]
    with pytest.raises(UserError, match=r"missing\.png"):
        quantize(exported, tmp_path / "m.onnx", tmp_path, [Sample("train/0", "missing.png", "", "labeled")])
    assert list(tmp_path.iterdir()) == []


def test_it_is_calibrated_on_training_images_with_and_without_masks_spread_evenly() -> None:
    subsets = ["labeled"] + ["unlabeled"] * 5 + ["labeled"] + ["unlabeled"] * 5 + ["val", "test"] * 6
    manifest = Manifest(Sample(f"{index:02}", "", "", subset) for index, subset in enumerate(subsets))
    chosen = calibration_samples(manifest, 4)
    assert [sample.id for sample in chosen] == ["01", "04", "07", "10"]
    everything = calibration_samples(manifest, 100)
    assert [sample.id for sample in everything] == [f"{index:02}" for index in range(12)]
    assert {sample.subset for sample in everything} == {"labeled", "unlabeled"}
