"""The exported file's reader: what it computes, whole and in tiles, and what it refuses."""

import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from brightest_model import COLORS, METADATA, write_model

import ucc
from ucc.errors import UserError
from ucc.images import read_image
from ucc.segmenter import Segmentation, Segmenter


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


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
    with pytest.raises(ValueError, match="shape"):
        list(Segmenter(model, tile=64, overlap=32).segment_strips(np.repeat(wrong, 100, axis=-1)))


@pytest.mark.parametrize("wrong", [None, "photo.jpg", [[[1, 2, 3]]]], ids=["nothing", "path", "list"])
@pytest.mark.parametrize("method", ["segment", "segment_batch", "segment_strips", "logits"])
def test_what_is_no_array_is_refused_by_its_type(model: Path, wrong: object, method: str) -> None:
    with pytest.raises(ValueError, match=rf"NumPy array of shape \(.*H, W, 3\), not {type(wrong).__name__}"):
        list(getattr(Segmenter(model), method)(wrong))


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "linked.onnx").symlink_to(tmp_path / "cache/files/md5/ab/cd")
    with pytest.raises(UserError, match=r"linked\.onnx: a link to .*cd, which is not there\. In a container"):
        Segmenter(tmp_path / "linked.onnx")
    with pytest.raises(UserError, match=r"absent\.onnx: no such file"):
        Segmenter(tmp_path / "absent.onnx")


def test_a_file_that_is_no_onnx_model_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(UserError, match=r"text\.onnx: onnxruntime cannot load it"):
        Segmenter(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "not one that the stage `export`"),
        (METADATA | {"ucc_format": "1"}, "format 1, but .* format 2"),
        (METADATA | {"ucc_format": "3"}, "format 3, but"),
    ],
    ids=["foreign", "older", "newer"],
)
def test_an_onnx_model_of_another_kind_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=f"other.onnx: .*{message}"):
        Segmenter(write_model(tmp_path / "other.onnx", metadata))


@pytest.mark.parametrize(
    "damage",
    [
        {"classes": None},
        {"classes": "[]"},
        {"classes": "red"},
        {"classes": "3"},
        {"colors": "[[1, 2, 3]]"},
        {"colors": "[[1, 2], [3, 4], [5, 6]]"},
        {"colors": "[[1, 2, 256], [3, 4, 5], [5, 6, 7]]"},
        {"step": "x"},
        {"metrics": "null"},
        {"metrics": '{"miou": "much"}'},
        {"metrics": "{"},
        {"quantized_miou": "x"},
    ],
    ids=str,
)
def test_damaged_metadata_name_the_file(tmp_path: Path, damage: dict[str, str | None]) -> None:
    metadata = {key: value for key, value in {**METADATA, **damage}.items() if value is not None}
    with pytest.raises(UserError, match=r"other\.onnx: its metadata are damaged .*export the model anew"):
        Segmenter(write_model(tmp_path / "other.onnx", metadata))


def flat_image(height: int, width: int) -> np.ndarray:
    """Halves of plain red and blue, cut where no tile ends; scores are far enough apart for no blur to show."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 200
    image[:, width // 2 :, 2] = 200
    return image


def test_an_image_beyond_the_tile_gives_the_class_map_of_the_whole(model: Path) -> None:
    image = flat_image(130, 300)
    whole = Segmenter(model).segment(image)
    classes, uncertainty = Segmenter(model, tile=96, overlap=32).segment(image)
    assert classes.dtype == np.uint8
    assert uncertainty.dtype == np.float32
    differing = np.flatnonzero((classes != whole.classes).any(axis=0))
    assert all(abs(column - 150) <= 4 for column in differing)
    assert uncertainty[:, :140].max() < 1e-6


def test_images_up_to_the_tile_are_taken_whole_and_larger_ones_never_with_tile_0(model: Path) -> None:
    assert Segmenter(model).takes_whole(1024, 1024)
    assert not Segmenter(model).takes_whole(1025, 8)
    assert Segmenter(model, tile=0).takes_whole(10**5, 10**5)


def test_a_batch_of_large_images_is_tiled_one_by_one(model: Path) -> None:
    segmenter = Segmenter(model, tile=64, overlap=32)
    pair = np.stack([flat_image(70, 90), flat_image(70, 90)[:, ::-1]])
    together = segmenter.segment_batch(pair)
    assert together.classes.shape == (2, 70, 90)
    np.testing.assert_array_equal(together.classes[1], segmenter.segment(pair[1]).classes)


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (64, 32)], ids=["whole", "tiles"])
def test_strips_together_are_the_segmentation(model: Path, tile: int, overlap: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 90, 3), dtype=np.uint8)
    segmenter = Segmenter(model, tile=tile, overlap=overlap)
    strips = list(segmenter.segment_strips(image))
    expected = segmenter.segment(image)
    np.testing.assert_array_equal(np.concatenate([strip.classes for strip in strips]), expected.classes)
    np.testing.assert_array_equal(np.concatenate([strip.uncertainty for strip in strips]), expected.uncertainty)


def test_of_an_image_in_tiles_no_map_of_its_size_is_held(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ucc.tiling.STRIP_SCORES", 2**14)
    image = np.zeros((8000, 512, 3), np.uint8)
    segmenter = Segmenter(model, tile=256, overlap=32)
    tracemalloc.start()
    assert sum(len(strip.classes) for strip in segmenter.segment_strips(image)) == 8000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8000 * 512


@pytest.mark.parametrize("threads", [-1, 1.5, None])
def test_a_number_of_threads_that_cannot_be_is_refused(model: Path, threads: object) -> None:
    with pytest.raises(UserError, match=f"threads {threads}: must be a whole number; 0 leaves"):
        Segmenter(model, threads=threads)  # type: ignore[arg-type]


def test_tiles_are_those_that_were_checked(model: Path) -> None:
    segmenter = Segmenter(model, tile=64, overlap=32)
    assert (segmenter.tile, segmenter.overlap) == (64, 32)
    with pytest.raises(AttributeError):
        segmenter.tile = 7  # type: ignore[misc]


def test_another_process_can_be_handed_a_segmenter(
    model: Path, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    segmenter = Segmenter(model.name, threads=1, tile=64, overlap=32)
    monkeypatch.chdir(tmp_path.parent)
    again = pickle.loads(pickle.dumps(segmenter))
    assert (again.tile, again.overlap) == (64, 32)
    assert again._session.get_session_options().intra_op_num_threads == 1
    np.testing.assert_array_equal(again.segment(image).classes, segmenter.segment(image).classes)


@pytest.mark.parametrize("names", [[], "classes", ["nope"], ["classes", "nope"]], ids=str)
@pytest.mark.parametrize("tile", [64, 0])
def test_outputs_that_there_are_not_are_refused(model: Path, names: list[str], tile: int) -> None:
    with pytest.raises(ValueError, match="names must be a list of one or more of classes, uncertainty, logits, not "):
        Segmenter(model, tile=tile, overlap=32).predict(np.zeros((1, 70, 8, 3), np.uint8), names)


@pytest.mark.parametrize(
    ("tile", "overlap"), [(-32, 32), (100, 32), (64, 64), (64, 0), (64, 20), (32, 64), (64.0, 32), (64, None)]
)
def test_tiles_that_cannot_be_are_refused(model: Path, tile: int, overlap: int) -> None:
    with pytest.raises(UserError, match="multiples of 32"):
        Segmenter(model, tile=tile, overlap=overlap)


def test_the_package_gives_the_class_without_loading_anything_before() -> None:
    assert ucc.Segmenter is Segmenter
    assert ucc.read_image is read_image
    assert ucc.Segmentation is Segmentation
    assert ucc.UserError is UserError
    with pytest.raises(AttributeError, match="no attribute 'Segmentr'"):
        _ = ucc.Segmentr  # type: ignore[attr-defined]
    code = (
        "import sys, ucc; assert 'numpy' not in sys.modules; "
        "ucc.Segmenter, ucc.read_image, ucc.UserError; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(2, 64, 70, 3), (2, 130, 100, 3)], ids=["whole", "tiles"])
def test_named_outputs_are_those_of_the_other_ways_to_get_them(model: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    segmenter = Segmenter(model, tile=96, overlap=32)
    found = segmenter.predict(images, ["uncertainty", "logits", "classes"])
    expected = segmenter.segment_batch(images)
    np.testing.assert_array_equal(found["classes"], expected.classes)
    np.testing.assert_array_equal(found["uncertainty"], expected.uncertainty)
    # This model's scores depend on single pixels, so that tiles change nothing but the last digit.
    np.testing.assert_allclose(found["logits"], images[:, ::4, ::4].transpose(0, 3, 1, 2), rtol=1e-6)
    assert list(segmenter.predict(images, ["classes"])) == ["classes"]


def test_onnxruntime_works_with_as_many_threads_as_it_is_told(model: Path) -> None:
    options = [Segmenter(model, threads=number)._session.get_session_options() for number in (0, 3)]
    assert [each.intra_op_num_threads for each in options] == [0, 3]


def test_shares_and_mean_uncertainty_are_over_all_pixels_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ucc.segmenter.COUNTED_AT_ONCE", 4)
    classes = np.array([[0, 0, 0, 2, 2], [0, 0, 0, 0, 3]], np.uint8)
    uncertainty = np.array([[0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    found = Segmentation(classes, uncertainty)
    assert found.shares(4) == pytest.approx([0.7, 0, 0.2, 0.1])
    assert found.mean_uncertainty == pytest.approx(0.05)


def test_tiles_overlap_as_far_as_they_are_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, tiles = Segmenter.logits, []

    def note(self: Segmenter, images: np.ndarray) -> np.ndarray:
        tiles.append(images.shape[1:3])
        return logits(self, images)

    monkeypatch.setattr(Segmenter, "logits", note)
    segmenter, image = Segmenter(model, tile=96, overlap=64), flat_image(96, 160)
    segmenter.segment(image)
    list(segmenter.segment_strips(image))
    segmenter.predict(image[np.newaxis], ["classes"])
    assert tiles == [(96, 96)] * 3 * 3  # with an overlap of 32 two would do


def test_a_file_that_does_not_say_has_no_steps_and_no_score(tmp_path: Path) -> None:
    silent = {key: value for key, value in METADATA.items() if key not in ("step", "metrics")}
    segmenter = Segmenter(write_model(tmp_path / "silent.onnx", silent))
    assert (segmenter.step, segmenter.miou, segmenter.miou_split) == (0, None, None)
