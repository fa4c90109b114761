"""Validation stops bad data, names the files, and leaves a report behind."""

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from great_expectations.expectations import ExpectColumnValuesToBeNull

from ucc.config import ValidationParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample
from ucc.data.validation import Check, run_checks, validate_dataset
from ucc.data.validation_report import ValidationResult, describe_failure, validation_page, write_reports
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


def _mask(folder: Path, id_: str, *values: int, height: int = 4) -> None:
    write_png(folder / f"masks/{id_}.png", np.array([values] * height, np.uint8))


def test_a_sound_data_set_passes_every_check(dataset: Path) -> None:
    result = _validate(dataset)
    assert [check.name for check in result.checks if not check.success] == []
    assert len(result.checks) == 9
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
    "an image in two subsets under two names": (
        lambda folder: shutil.copy(folder / "images/train/c.png", folder / "images/val/e.png"),
        "subsets_disjoint",
        "images/val/e.png (val): same bytes as images/train/c.png",
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
    assert "car & <van>: in no labelled mask" in describe_failure(result.warnings[0])
    result.raise_if_failed(dataset)


def test_a_copy_within_a_subset_is_a_warning(dataset: Path) -> None:
    shutil.copy(dataset / "images/train/a.png", dataset / "images/train/b.png")
    result = _validate(dataset)
    assert [check.name for check in result.warnings] == ["no_duplicates"]
    assert set(result.warnings[0].offenders) == {"train/a", "train/b"}
    result.raise_if_failed(dataset)


def test_a_misspelt_column_is_a_fault_of_the_program_not_of_the_data() -> None:
    table = pd.DataFrame({"id": ["a"], "image_error": [None]})
    check = Check("typo", "", "error", "images", ExpectColumnValuesToBeNull, {"column": "image_eror"}, "", "")
    with pytest.raises(RuntimeError, match=r"typo.*cannot be evaluated.*image_eror"):
        run_checks([check], {"images": table})


def test_a_long_list_of_files_is_cut_after_twenty(dataset: Path) -> None:
    samples = [Sample(f"train/{index:02d}", f"images/train/{index:02d}.png", "", "unlabeled") for index in range(23)]
    result = validate_dataset(dataset, Manifest([*_manifest().samples, *samples]), PARAMS)
    message = describe_failure(result.failures[0])
    assert "images/train/19.png" in message
    assert "images/train/20.png" not in message
    assert "and 3 more" in message
    assert len(result.failures[0].offenders) == 23


def test_the_reports_of_a_failed_validation_are_written_and_repeat_byte_for_byte(dataset: Path, tmp_path: Path) -> None:
    (dataset / "masks/val/d.png").write_bytes(b"no picture")
    written = []
    for name in ("first", "second"):
        write_reports(_validate(dataset), tmp_path / name / "v.json", tmp_path / name / "v.html")
        written.append([(tmp_path / name / file).read_bytes() for file in ("v.json", "v.html")])
    assert written[0] == written[1]
    report = json.loads(written[0][0])
    assert report["success"] is False
    assert report["manifest"] == _manifest().hash
    masks = next(check for check in report["checks"] if check["name"] == "masks_readable")
    assert (masks["severity"], masks["success"]) == ("error", False)
    assert list(masks["offenders"]) == ["val/d"]
    assert report["class_shares"]["labeled"]["sky"] == pytest.approx(0.4)
    assert b"masks/val/d.png: not an image" in written[0][1]


class _Page(HTMLParser):
    """Collects text and addresses, and fails on an element that is closed out of order."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_page_is_whole_self_contained_and_escapes_names(dataset: Path) -> None:
    html = validation_page(_validate(dataset))
    page = _Page()
    page.feed(html)
    assert page.open == []
    assert page.addresses == []
    assert not {"script", "link", "img", "van"} & set(page.tags)
    assert "http" not in html
    assert "car & <van>" in page.texts
    assert page.tags.count("rect") == len(CLASSES) * 3
    assert page.texts.count("pass") == 9
    assert {"40.00%", "20.00%", "4x6"} <= set(page.texts)
