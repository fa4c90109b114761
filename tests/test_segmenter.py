"""The exported file's reader: what it computes, draws, refuses, and does not import.

The model here is written by hand: its class is the brightest of the channels R, G, B, its uncertainty
1 - that channel / 255.
"""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image as PillowImage

from ucc.errors import UserError
from ucc.segmenter import (
    Segmenter,
    describe,
    draw_overlay,
    draw_uncertainty,
    encode_indexed_png,
    main,
    read_image,
)

COLORS = ((200, 10, 20), (30, 210, 40), (50, 60, 220))
METADATA = {"ucc_format": "1", "classes": json.dumps(["red", "green", "blue"]), "colors": json.dumps(COLORS)}


def write_model(path: Path, metadata: dict[str, str]) -> Path:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["pixels"], ["index"], axis=3, keepdims=0),
        helper.make_node("Cast", ["index"], ["classes"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["pixels", "axes"], ["brightest"], keepdims=0),
        helper.make_node("Div", ["brightest", "white"], ["confidence"]),
        helper.make_node("Sub", ["one", "confidence"], ["uncertainty"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info("classes", TensorProto.UINT8, ["batch", "height", "width"]),
            helper.make_tensor_value_info("uncertainty", TensorProto.FLOAT, ["batch", "height", "width"]),
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [3]),
            helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", METADATA)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)


def test_class_map_and_uncertainty_are_those_of_the_model(model: Path, image: np.ndarray) -> None:
    classes, uncertainty = Segmenter(model).segment(image)
    assert classes.dtype == np.uint8
    assert uncertainty.dtype == np.float32
    np.testing.assert_array_equal(classes, image.argmax(axis=2))
    np.testing.assert_allclose(uncertainty, 1 - image.max(axis=2) / 255, atol=1e-6)


def test_a_batch_gives_what_its_images_give_one_by_one(model: Path, image: np.ndarray) -> None:
    segmenter = Segmenter(model, threads=1)
    pair = np.stack([image, image[::-1]])
    together = segmenter.segment_batch(pair)
    for index in range(2):
        alone = segmenter.segment(pair[index])
        np.testing.assert_array_equal(together.classes[index], alone.classes)
        np.testing.assert_array_equal(together.uncertainty[index], alone.uncertainty)


def test_an_image_that_is_a_view_into_another_array_is_accepted(model: Path, image: np.ndarray) -> None:
    classes, _ = Segmenter(model).segment(image[::2, ::-1])
    np.testing.assert_array_equal(classes, image[::2, ::-1].argmax(axis=2))


def test_class_names_colors_and_metadata_come_from_the_file(model: Path) -> None:
    segmenter = Segmenter(model)
    assert segmenter.classes == ("red", "green", "blue")
    assert segmenter.colors == COLORS
    assert segmenter.metadata == METADATA


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3)),
        np.zeros((0, 5, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_an_array_that_is_no_rgb_image_is_refused(model: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape"):
        Segmenter(model).segment(wrong)


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.onnx: no such file"):
        Segmenter(tmp_path / "absent.onnx")


def test_a_file_that_is_no_onnx_model_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(UserError, match=r"text\.onnx: onnxruntime cannot load it"):
        Segmenter(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({}, "not one that the stage `export`"), (METADATA | {"ucc_format": "2"}, "format 2, but .* format 1")],
    ids=["foreign", "newer"],
)
def test_an_onnx_model_of_another_kind_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=f"other.onnx: .*{message}"):
        Segmenter(write_model(tmp_path / "other.onnx", metadata))


def test_the_command_writes_three_pictures_of_each_image(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_image(tmp_path / "in" / "street.png", image)
    out = tmp_path / "new" / "out"
    assert main([str(model), str(path), "--out", str(out)]) == 0

    classes = image.argmax(axis=2)
    with PillowImage.open(out / "street_classes.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), classes)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.asarray(COLORS)[classes])
    expected = (image.astype(float) + np.asarray(COLORS)[classes]) / 2
    np.testing.assert_allclose(read_image(out / "street_overlay.png"), expected, atol=0.5)
    assert read_image(out / "street_uncertainty.png").shape == image.shape
    printed = capsys.readouterr().out
    for kind in ("classes", "overlay", "uncertainty"):
        assert str(out / f"street_{kind}.png") in printed
    assert "mean uncertainty" in printed


@pytest.mark.parametrize("count", [1, 2, 5, 17, 256])
def test_an_indexed_png_holds_indices_and_palette_for_any_number_of_classes(count: int) -> None:
    rng = np.random.default_rng(count)
    classes = rng.integers(0, count, (13, 29), dtype=np.uint8)
    colors = rng.integers(0, 256, (count, 3))
    encoded = encode_indexed_png(classes, [(int(r), int(g), int(b)) for r, g, b in colors])
    painted = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(painted[..., ::-1], colors[classes])


def test_the_heat_map_is_dark_where_certain_and_brightest_where_all_classes_are_alike() -> None:
    heat = draw_uncertainty(np.array([[0.0, 0.25, 0.5, 0.75]], np.float32), num_classes=4).astype(int)
    brightness = heat.sum(axis=2)[0]
    assert brightness[0] < 20
    assert np.all(np.diff(brightness) > 0)
    # The scale is absolute: the same value has the same colour whatever else is in the picture.
    assert np.array_equal(draw_uncertainty(np.array([[0.25]], np.float32), num_classes=4)[0, 0], heat[0, 1])


def test_an_overlay_keeps_the_image_visible_under_the_class_colors() -> None:
    overlay = draw_overlay(np.full((1, 1, 3), 100, np.uint8), np.array([[2]], np.uint8), COLORS)
    assert overlay[0, 0].tolist() == [75, 80, 160]


def test_the_printed_shares_are_those_of_the_class_map(model: Path) -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, :3, 2] = 255
    image[0, 3, 0] = 255
    segmenter = Segmenter(model)
    assert describe(segmenter.segment(image), segmenter.classes) == "blue 75%, red 25%; mean uncertainty 0.00"


def test_a_photograph_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = 255
    path = tmp_path / "turned.jpg"
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # stored turned by a quarter to the left; to be shown turned to the right
    PillowImage.fromarray(upright).rotate(90, expand=True).save(path, exif=exif, quality=100)
    read = read_image(path)
    assert read.shape == upright.shape
    assert read[:, :14].min() > 200
    assert read[:, 18:].max() < 55


def test_a_bad_image_is_named_and_the_others_are_segmented(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no more")
    good = write_image(tmp_path / "good.png", image)
    absent = tmp_path / "absent.png"
    assert main([str(model), str(broken), str(absent), str(good), "--out", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [str(broken) in errors[0], str(absent) in errors[1], len(errors)] == [True, True, 2]
    assert (tmp_path / "good_classes.png").is_file()
    assert not list(tmp_path.glob("broken_*"))


def test_a_missing_model_is_an_error_of_one_line(
    image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_image(tmp_path / "street.png", image)
    assert main([str(tmp_path / "absent.onnx"), str(path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path / 'absent.onnx'}: no such file. The stage `export` writes models/segmenter.onnx."
    ]


def test_images_of_one_name_from_two_folders_do_not_overwrite_each_other(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (write_image(tmp_path / city / "street.png", image) for city in ("ulm", "bonn"))
    out = tmp_path / "out"
    assert main([str(model), str(first), str(second), "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert str(first) in message
    assert str(second) in message
    assert not out.exists()


def test_no_picture_overwrites_an_image_that_was_given(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    first = write_image(tmp_path / "street.png", image)
    second = write_image(tmp_path / "street_overlay.png", image)
    before = second.read_bytes()
    assert main([str(model), str(first), str(second), "--out", str(tmp_path)]) == 1
    assert second.read_bytes() == before


def test_the_same_image_given_twice_is_no_error(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    path = write_image(tmp_path / "street.png", image)
    assert main([str(model), str(path), str(path), "--out", str(tmp_path)]) == 0


def test_the_command_imports_nothing_but_what_serving_installs(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    path = write_image(tmp_path / "street.png", image)
    script = (
        "import sys\n"
        "from ucc.segmenter import main\n"
        f"assert main({[str(model), str(path), '--out', str(tmp_path)]!r}) == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('ucc')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    *_, packages, modules = done.stdout.splitlines()
    heavy = {
        "torch",
        "torchvision",
        "onnx",
        "onnxscript",
        "hydra",
        "omegaconf",
        "yaml",
        "pandas",
        "lightning",
    }
    assert {"numpy", "cv2", "onnxruntime"} <= set(packages.split())
    assert not heavy & set(packages.split())
    assert modules.split() == ["ucc", "ucc.errors", "ucc.files", "ucc.segmenter"]
