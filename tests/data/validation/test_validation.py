"""Validation stops bad data, names the files, and leaves a report behind."""

import errno
import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from great_expectations.expectations import ExpectColumnValuesToBeNull

from ucc.config import ValidationParams
from ucc.data.dataset import DRAWN, DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.manifest import Manifest, Sample
from ucc.data.validation.checks import ASPECTS, Check, dataset_checks
from ucc.data.validation.expectations import run_checks
from ucc.data.validation.result import ValidationResult, describe_failure
from ucc.data.validation.run import validate_dataset
from ucc.errors import UserError

CLASSES = ("sky", "road", "car & <van>")
COLORS = ((70, 130, 180), (128, 64, 128), (0, 0, 142))
PARAMS = ValidationParams(
    min_labeled_images=2,
    min_images_per_class=1,
    max_ignore_share=0.5,
    near_duplicate_bits=4,
    max_drift=1.0,
    severity={},
)
SUBSETS = {"train/a": "labeled", "train/b": "labeled", "train/c": "unlabeled", "val/d": "val", "val/e": "val"}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A sound data set of five images; the unlabelled one has no mask."""
    folder = tmp_path / "dataset"
    DatasetInfo("tiny", CLASSES, COLORS).write(folder)
    for value, (id_, subset) in enumerate(SUBSETS.items()):
        write_png(folder / f"images/{id_}.png", np.full((4, 6, 3), 10 * value, np.uint8))
        if subset != "unlabeled":
            write_png(folder / f"masks/{id_}.png", np.array([[0, 0, 1, 1, 2, 255]] * 4, np.uint8))
    return folder


def _manifest(without: str = "") -> Manifest:
    return Manifest(
        Sample(id_, f"images/{id_}.png", "" if subset == "unlabeled" else f"masks/{id_}.png", subset)
        for id_, subset in SUBSETS.items()
        if id_ != without
    )


def _validate(dataset: Path, without: str = "") -> ValidationResult:
    return validate_dataset(dataset, _manifest(without), PARAMS)


def _link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _jpeg() -> bytes:
    return cv2.imencode(".jpg", _scene(0))[1].tobytes()


def _bomb(width: int, height: int) -> bytes:
    """A sound PNG but for its pixels, of which there are almost none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return len(content).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _scene(seed: int, height: int = 60, width: int = 80) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _mask(folder: Path, id_: str, *values: int, height: int = 4) -> None:
    write_png(folder / f"masks/{id_}.png", np.array([values] * height, np.uint8))


def test_a_sound_data_set_passes_every_check(dataset: Path) -> None:
    result = _validate(dataset)
    assert [check.name for check in result.checks if not check.success] == []
    assert len(result.checks) == 13
    assert {check.aspect for check in result.checks} == set(ASPECTS)
    result.raise_if_failed(dataset)


def test_class_shares_leave_out_ignored_pixels(dataset: Path) -> None:
    _mask(dataset, "train/a", 0, 0, 0, 0, 255, 255)
    shares = _validate(dataset).class_shares
    assert shares["labeled"] == pytest.approx({"sky": 6 / 9, "road": 2 / 9, "car & <van>": 1 / 9})
    assert shares["val"] == pytest.approx({"sky": 2 / 5, "road": 2 / 5, "car & <van>": 1 / 5})
    assert set(shares) == {"labeled", "val"}


FAILURES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "an image that is no image": (
        lambda folder: (folder / "images/train/c.png").write_bytes(b"no picture"),
        "images_readable",
        "images/train/c.png: not an image",
    ),
    "a missing image": (
        lambda folder: (folder / "images/val/d.png").unlink(),
        "images_readable",
        "images/val/d.png: cannot be read",
    ),
    "an empty image": (
        lambda folder: (folder / "images/train/c.png").write_bytes(b""),
        "images_readable",
        "images/train/c.png: not an image, the file is empty",
    ),
    "a link to nothing": (
        lambda folder: _link(folder / "images/train/c.png", folder / "gone.png"),
        "images_readable",
        "images/train/c.png: cannot be read (a link to a file that does not exist)",
    ),
    "a folder in place of an image": (
        lambda folder: ((folder / "images/train/c.png").unlink(), (folder / "images/train/c.png").mkdir()),
        "images_readable",
        "images/train/c.png: cannot be read (Is a directory)",
    ),
    "a JPEG without its end": (
        lambda folder: (folder / "images/train/c.png").write_bytes(_jpeg()[:-100]),
        "images_readable",
        "images/train/c.png: not an image that can be decoded, because it is cut off or damaged",
    ),
    "a picture of a size that no memory holds": (
        lambda folder: (folder / "images/train/c.png").write_bytes(_bomb(20_000, 10_000)),
        "images_readable",
        "images/train/c.png: declares 10000x20000 pixels, more than 178,000,000",
    ),
    "a missing mask": (
        lambda folder: (folder / "masks/val/e.png").unlink(),
        "masks_readable",
        "masks/val/e.png: cannot be read",
    ),
    "a mask in colour": (
        lambda folder: write_png(folder / "masks/train/a.png", np.zeros((4, 6, 3), np.uint8)),
        "masks_readable",
        "masks/train/a.png: a mask must be",
    ),
    "a mask of another size": (
        lambda folder: _mask(folder, "val/d", 0, 0, 1, 1, 2, 2, height=5),
        "sizes_equal",
        "masks/val/d.png: is 5x6, its image 4x6",
    ),
    "a value that is no class": (
        lambda folder: _mask(folder, "train/b", 0, 1, 2, 3, 11, 255),
        "mask_values",
        "masks/train/b.png: holds 3, 11",
    ),
    "a mask that is mostly ignored": (
        lambda folder: _mask(folder, "train/b", 0, 255, 255, 255, 255, 255),
        "ignore_share",
        "masks/train/b.png: 83.3% ignored",
    ),
    "an image in train and val in two encodings": (
        lambda folder: cv2.imwrite(str(folder / "images/val/e.png"), np.full((4, 6), 20, np.uint8)),  # grey
        "subsets_disjoint",
        "images/train/c.png (unlabeled): same picture as images/val/e.png",
    ),
    "an image in two subsets under two names": (
        lambda folder: shutil.copy(folder / "images/train/c.png", folder / "images/val/e.png"),
        "subsets_disjoint",
        "images/val/e.png (val): same picture as images/train/c.png",
    ),
}


@pytest.mark.parametrize(("spoil", "name", "finding"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_check_stops_the_pipeline_and_names_the_file(
    dataset: Path, spoil: Callable[[Path], object], name: str, finding: str
) -> None:
    spoil(dataset)
    result = _validate(dataset)
    assert [check.name for check in result.checks if not check.success] == [name]
    with pytest.raises(UserError) as caught:
        result.raise_if_failed(dataset)
    assert finding in str(caught.value)
    assert "remedy: " in str(caught.value)


def test_a_validation_mask_that_is_mostly_ignored_passes(dataset: Path) -> None:
    _mask(dataset, "val/d", 0, 255, 255, 255, 255, 255)
    assert _validate(dataset).failures == []


def test_too_few_labelled_images_stop_the_pipeline(dataset: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)at least 2 images are labelled.*found 1.*partition\.ratio"):
        _validate(dataset, without="train/b").raise_if_failed(dataset)


def test_a_manifest_without_labelled_images_is_reported_not_a_crash(dataset: Path) -> None:
    manifest = Manifest(sample for sample in _manifest().samples if sample.subset != "labeled")
    result = validate_dataset(dataset, manifest, PARAMS)
    assert [check.name for check in result.failures] == ["min_labeled_images"]
    assert len(result.warnings[0].offenders) == len(CLASSES)


def test_a_class_that_no_labelled_image_shows_is_a_warning(dataset: Path) -> None:
    for id_ in ("train/a", "train/b"):
        _mask(dataset, id_, 0, 0, 0, 1, 1, 1)
    result = _validate(dataset)
    assert [check.name for check in result.warnings] == ["classes_labeled"]
    told = describe_failure(result.warnings[0])
    assert "car & <van>: in 0 labelled image(s)" in told
    # Of a folder whose every mask counts, no ratio or list makes more images labelled.
    assert "where the ratio is null, draw masks for more training images that show it" in told
    result.raise_if_failed(dataset)


def test_a_copy_within_a_subset_is_a_warning(dataset: Path) -> None:
    shutil.copy(dataset / "images/train/a.png", dataset / "images/train/b.png")
    result = _validate(dataset)
    assert [check.name for check in result.warnings] == ["no_duplicates"]
    assert set(result.warnings[0].offenders) == {"train/a", "train/b"}
    result.raise_if_failed(dataset)


def test_a_picture_both_labelled_and_unlabelled_is_a_warning_since_it_flatters_no_score(dataset: Path) -> None:
    shutil.copy(dataset / "images/train/a.png", dataset / "images/train/c.png")
    result = _validate(dataset)
    assert [check.name for check in result.checks if not check.success] == ["no_duplicates"]
    assert "images/train/c.png (unlabeled): same picture as images/train/a.png" in describe_failure(result.warnings[0])
    result.raise_if_failed(dataset)


def test_a_picture_both_in_val_and_test_stops_the_pipeline(dataset: Path) -> None:
    twin = Sample("test/f", "images/val/d.png", "masks/val/d.png", "test")
    result = validate_dataset(dataset, Manifest([*_manifest().samples, twin]), PARAMS)
    assert [check.name for check in result.failures] == ["subsets_disjoint"]


def test_a_failure_tells_where_to_mend_and_what_to_run(dataset: Path) -> None:
    (dataset / "images/train/c.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        _validate(dataset).raise_if_failed(dataset)
    last = str(caught.value).splitlines()[-1]
    assert f"Mend files in dataset.root (without one, in data/raw), not in {dataset}" in last
    assert "run `dvc repro -f download`, then `dvc repro`" in last
    DatasetInfo("streets", CLASSES, COLORS, {"source": DRAWN}).write(dataset)
    with pytest.raises(UserError, match=r"are drawn, so none has to be mended: .* `dvc repro -f download`"):
        _validate(dataset).raise_if_failed(dataset)


def test_a_misspelt_column_is_a_fault_of_the_program_not_of_the_data() -> None:
    table = pd.DataFrame({"id": ["a"], "image_error": [None]})
    check = Check("typo", "files", "", "error", ExpectColumnValuesToBeNull, {"column": "image_eror"}, "", "")
    with pytest.raises(RuntimeError, match=r"typo.*cannot be evaluated.*image_eror"):
        run_checks([check], {"files": table})


def test_a_long_list_of_files_is_cut_after_twenty(dataset: Path) -> None:
    samples = [Sample(f"train/{index:02d}", f"images/train/{index:02d}.png", "", "unlabeled") for index in range(23)]
    result = validate_dataset(dataset, Manifest([*_manifest().samples, *samples]), PARAMS)
    message = describe_failure(result.failures[0])
    assert "images/train/19.png" in message
    assert "images/train/20.png" not in message
    assert "and 3 more" in message
    assert len(result.failures[0].offenders) == 23


def test_all_bad_files_are_named_at_once(dataset: Path) -> None:
    (dataset / "images/train/a.png").write_bytes(b"")
    (dataset / "images/train/c.png").write_bytes(_jpeg()[:-100])
    _link(dataset / "images/val/d.png", dataset / "gone.png")
    (dataset / "masks/val/e.png").write_bytes(b"no picture")
    found = {check.name: set(check.offenders) for check in _validate(dataset).failures}
    assert found == {"images_readable": {"train/a", "train/c", "val/d"}, "masks_readable": {"val/e"}}


def test_a_class_in_no_validation_mask_is_a_warning(dataset: Path) -> None:
    for id_ in ("val/d", "val/e"):
        _mask(dataset, id_, 0, 0, 0, 1, 1, 1)
    result = _validate(dataset)
    assert [check.name for check in result.warnings] == ["classes_measured"]
    assert list(result.warnings[0].offenders) == ["car & <van>"]
    assert result.class_images["val"] == {"sky": 2, "road": 2, "car & <van>": 0}


def test_a_class_in_no_mask_at_all_is_an_error_and_said_once(dataset: Path) -> None:
    for id_, subset in SUBSETS.items():
        if subset != "unlabeled":
            _mask(dataset, id_, 0, 0, 0, 1, 1, 1)
    result = _validate(dataset)
    assert [check.name for check in result.checks if not check.success] == ["classes_in_masks"]
    with pytest.raises(UserError, match=r"car & <van>: in no mask .*(?s:.)*severity: \{classes_in_masks: warning\}"):
        result.raise_if_failed(dataset)
    lowered = replace(PARAMS, severity={"classes_in_masks": "warning"})
    validate_dataset(dataset, _manifest(), lowered).raise_if_failed(dataset)


def test_how_many_images_must_show_a_class_is_a_threshold(dataset: Path) -> None:
    _mask(dataset, "train/a", 0, 0, 0, 1, 1, 1)
    result = _validate(dataset)
    assert result.warnings == []
    assert result.class_images["labeled"] == {"sky": 2, "road": 2, "car & <van>": 1}
    result = validate_dataset(dataset, _manifest(), replace(PARAMS, min_images_per_class=2))
    assert [check.name for check in result.warnings] == ["classes_labeled"]
    assert list(result.warnings[0].offenders.values()) == ["car & <van>: in 1 labelled image(s)"]


def test_a_training_picture_again_in_val_is_a_warning_that_lists_the_pair(dataset: Path) -> None:
    write_png(dataset / "images/train/c.png", _scene(1))
    coded = cv2.imencode(".jpg", _scene(1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    again = cv2.resize(cv2.imdecode(coded, 1)[..., ::-1], (60, 45), interpolation=cv2.INTER_AREA)
    write_png(dataset / "images/val/e.png", again)
    _mask(dataset, "val/e", *[0, 1, 2] * 20, height=45)
    write_png(dataset / "images/train/a.png", _scene(2))
    _mask(dataset, "train/a", *[0, 1, 2, 255] * 20, height=60)
    result = _validate(dataset)
    assert [check.name for check in result.warnings] == ["near_duplicates"]
    assert list(result.warnings[0].offenders) == ["val/e"]
    assert "images/val/e.png (val): looks like images/train/c.png (" in describe_failure(result.warnings[0])
    assert [(pair.id, pair.twin) for pair in result.near_duplicates or ()] == [("val/e", "images/train/c.png")]
    result = validate_dataset(dataset, _manifest(), replace(PARAMS, near_duplicate_bits=None))
    assert (result.near_duplicates, result.warnings) == (None, [])


def test_the_same_pixels_are_an_error_and_not_near_duplicates_as_well(dataset: Path) -> None:
    for id_ in ("train/c", "val/e"):
        write_png(dataset / f"images/{id_}.png", _scene(1))
    _mask(dataset, "val/e", *[0, 1, 2, 255] * 20, height=60)
    result = _validate(dataset)
    assert [check.name for check in result.checks if not check.success] == ["subsets_disjoint"]
    assert result.near_duplicates == []


def _split(folder: Path, darker: int) -> Manifest:
    """24 labelled and 60 unlabelled pictures of one distribution, the labelled ones darker by so much."""
    DatasetInfo("split", CLASSES, COLORS).write(folder)
    samples = []
    for index in range(90):
        subset = "labeled" if index < 24 else "unlabeled" if index < 84 else "val"
        id_ = f"{'val' if subset == 'val' else 'train'}/{index:02d}"
        mask = "" if subset == "unlabeled" else f"masks/{id_}.png"
        samples.append(Sample(id_, f"images/{id_}.png", mask, subset))
        image = 60 + _scene(index) // 2 - (darker if subset == "labeled" else 0)
        write_png(folder / samples[-1].image, image.astype(np.uint8))
        if mask:
            _mask(folder, id_, *[0, 1, 2, 255] * 20, height=60)
    return Manifest(samples)


def test_labelled_images_that_are_darker_than_the_others_are_a_warning(tmp_path: Path) -> None:
    manifest = _split(tmp_path, darker=60)
    result = validate_dataset(tmp_path, manifest, replace(PARAMS, max_drift=0.9))
    assert [check.name for check in result.warnings] == ["drift"]
    assert "drift of brightness" in result.warnings[0].offenders
    assert not {"drift of height", "drift of contrast"} & set(result.warnings[0].offenders)
    assert "drift of brightness: distance 1.00 (p = " in describe_failure(result.warnings[0])


def test_a_random_split_passes_and_its_drift_is_reported_all_the_same(tmp_path: Path) -> None:
    result = validate_dataset(tmp_path, _split(tmp_path, darker=0), replace(PARAMS, max_drift=0.5))
    assert result.warnings == []
    figures = result.as_dict()["drift"]
    assert {"brightness", "saturation", "red", "height", "aspect"} < {figure["statistic"] for figure in figures}
    brightness = next(figure for figure in figures if figure["statistic"] == "brightness")
    assert 0 < brightness["distance"] < 0.6
    assert 0.01 < brightness["p_value"] <= 1


def test_without_unlabelled_images_there_is_no_drift(dataset: Path) -> None:
    result = _validate(dataset, without="train/c")
    assert (result.drift, result.warnings, result.failures) == ([], [], [])


def test_severity_turns_a_warning_into_an_error_and_back(dataset: Path) -> None:
    shutil.copy(dataset / "images/train/a.png", dataset / "images/train/b.png")
    _mask(dataset, "train/b", 0, 1, 2, 3, 11, 255)
    changed = replace(PARAMS, severity={"no_duplicates": "error", "mask_values": "warning"})
    result = validate_dataset(dataset, _manifest(), changed)
    assert [check.name for check in result.failures] == ["no_duplicates"]
    assert [check.name for check in result.warnings] == ["mask_values"]


def test_severity_of_an_unknown_check_names_the_near_one_and_all_others() -> None:
    info = DatasetInfo("tiny", CLASSES, COLORS)
    with pytest.raises(UserError, match=r"unknown check near_duplicate; did you mean near_duplicates\?.*mask_values"):
        dataset_checks(info, replace(PARAMS, severity={"near_duplicate": "error"}))
    with pytest.raises(UserError, match=r"unknown check xyz; The checks are images_readable"):
        dataset_checks(info, replace(PARAMS, severity={"xyz": "error"}))


def test_the_json_file_holds_every_figure_and_repeats_byte_for_byte(dataset: Path, tmp_path: Path) -> None:
    (dataset / "masks/val/d.png").write_bytes(b"no picture")
    for name in ("first", "second"):
        _validate(dataset).write(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    report = json.loads((tmp_path / "first").read_bytes())
    assert report["success"] is False
    assert report["manifest"] == _manifest().hash
    masks = next(check for check in report["checks"] if check["name"] == "masks_readable")
    assert (masks["aspect"], masks["severity"], masks["success"]) == ("files", "error", False)
    assert list(masks["offenders"]) == ["val/d"]
    assert report["class_shares"]["labeled"]["sky"] == pytest.approx(0.4)
    assert report["class_images"]["labeled"]["sky"] == 2
    assert report["near_duplicates"] == []
    assert report["drift"][0]["statistic"] == "brightness"


def test_data_docs_show_the_four_suites_the_same_each_time_and_nothing_else_is_written(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset / "masks/val/d.png").write_bytes(b"")  # a failed check, which is where the pages have most to say
    for name in ("work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    docs = Path("reports/data_docs")
    written = []
    for _ in range(2):  # the second replaces the first
        validate_dataset(dataset, _manifest(), PARAMS, docs)
        written.append({path: path.read_bytes() for path in docs.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    assert {page.stem for page in (docs / "expectations").glob("*.html")} == set(ASPECTS)
    assert {page.parents[2].name for page in (docs / "validations").rglob("*.html")} == set(ASPECTS)
    assert len(list((docs / "validations").rglob("*.html"))) == len(ASPECTS)
    assert "labels" in (docs / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in Path.cwd().iterdir()] == ["reports"]
    assert [path.name for path in Path("reports").iterdir()] == ["data_docs"]
    assert list((tmp_path / "temporary").iterdir()) == []


def _refuse(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"great_expectations.{method}", fail)


WRITE = "data_context.store.TupleFilesystemStoreBackend._set"
RENDER = "render.renderer.page_renderer.ExpectationSuitePageRenderer.render"


@pytest.mark.parametrize("method", [WRITE, RENDER], ids=["every page", "some pages"])
def test_a_full_disk_under_data_docs_is_one_message_and_keeps_the_earlier_ones(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    docs = tmp_path / "reports/data_docs"
    docs.mkdir(parents=True)
    (docs / "index.html").write_text("earlier")
    _refuse(monkeypatch, method, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(UserError, match=rf"^{docs}: no space left on the disk\. Make room"):
        validate_dataset(dataset, _manifest(), PARAMS, docs)
    assert [path.name for path in docs.parent.rglob("*")] == ["data_docs", "index.html"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_page_that_cannot_be_built_for_another_reason_is_a_fault_of_the_program(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, RENDER, KeyError("renderer"))
    with pytest.raises(RuntimeError, match="Data Docs cannot be built: 'renderer'"):
        validate_dataset(dataset, _manifest(), PARAMS, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()
