"""The page shows what was found, stands alone, and is the same after each run."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.manifest import Manifest, Sample
from ucc.data.validation.charts import class_chart, is_logarithmic
from ucc.data.validation.drift import measure_drift
from ucc.data.validation.duplicates import NearTwin
from ucc.data.validation.facts import image_facts
from ucc.data.validation.page import LISTED_OFFENDERS, validation_page, write_page
from ucc.data.validation.result import CheckResult, ValidationResult
from ucc.data.validation.thumbnails import BOX, SHOWN, SHOWN_PAIRS, thumbnail

CLASSES = ("sky", "road", "car & <van>")
COLORS = ((70, 130, 180), (255, 0, 0), (0, 0, 142))
COUNTS = {"labeled": 20, "unlabeled": 30, "val": 3}


class _Page(HTMLParser):
    """Collects texts, tags and addresses, and fails on an element that is closed out of order."""

    VOID = ("meta", "br", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

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

    def pictures(self) -> list[Image]:
        return [_decoded(address) for address in self.addresses]


def _decoded(address: str) -> Image:
    kind, content = address.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), 1), np.uint8)[..., ::-1]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey pictures whose masks are all road, which is red; those of unlabelled images do not exist."""
    folder = tmp_path_factory.mktemp("dataset")
    DatasetInfo("tiny", CLASSES, COLORS).write(folder)
    for sample in _manifest().samples:
        write_png(folder / sample.image, np.full((30, 40, 3), 100, np.uint8))
        if sample.mask:
            write_png(folder / sample.mask, np.full((30, 40), 1, np.uint8))
    return folder


def _manifest() -> Manifest:
    samples = []
    for subset, count in COUNTS.items():
        for index in range(count):
            id_ = f"{'val' if subset == 'val' else 'train'}/{subset}_{index:02d}"
            mask = "" if subset == "unlabeled" else f"masks/{id_}.png"
            samples.append(Sample(id_, f"images/{id_}.png", mask, subset))
    return Manifest(samples)


def _check(aspect: str, success: bool, severity: str = "error", offenders: dict[str, str] | None = None) -> CheckResult:
    return CheckResult(f"{aspect}_check", aspect, f"{aspect} & more", severity, success, offenders or {}, None, "mend")


def _result(dataset: Path) -> ValidationResult:
    manifest = _manifest()
    return ValidationResult(
        dataset="tiny",
        manifest=manifest.hash,
        images=COUNTS | {"test": 0},
        image_sizes={"30x40": 53},
        checks=[
            _check("files", True),
            _check("labels", False, "error", {"train/a": "masks/<a>: bad"}),
            _check("partition", False, "warning", {"val/b": "b: also bad"}),
            _check("statistics", True),
        ],
        class_shares={"labeled": {"sky": 0.4, "road": 0.6, "car & <van>": 0.0}, "val": dict.fromkeys(CLASSES, 1 / 3)},
        class_images={"labeled": {"sky": 17, "road": 20, "car & <van>": 0}, "val": dict.fromkeys(CLASSES, 3)},
        drift=measure_drift(image_facts(dataset, manifest, 3)),
        near_duplicates=[NearTwin("val/val_00", "images/val/val_00.png", "images/train/labeled_03.png", 2, 1)],
    )


def test_the_page_is_whole_self_contained_and_escapes_names(dataset: Path) -> None:
    html = validation_page(_result(dataset), dataset, _manifest())
    page = _Page(html)
    assert page.open == []
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not {"script", "link", "van", "a"} & set(page.tags)
    assert "http" not in html
    assert {"car & <van>", "masks/<a>: bad", "40.00%", "33.33%", "30x40", "Validation failed."} <= set(page.texts)
    assert len(html) < 2_000_000


def test_checks_stand_below_their_aspects(dataset: Path) -> None:
    texts = _Page(validation_page(_result(dataset), dataset, _manifest())).texts
    order = [text for text in texts if text in ("files", "labels", "partition", "statistics") or "_check" in text]
    aspects = ("files", "labels", "partition", "statistics")
    assert order == [text for aspect in aspects for text in (aspect, f"{aspect}_check")]
    assert [text for text in texts if text in ("pass", "warn", "fail")] == ["pass", "fail", "warn", "pass"]


def test_two_pages_of_one_result_are_the_same_to_the_byte(dataset: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_page(_result(dataset), dataset, _manifest(), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_samples_are_shown_with_names_and_masks_in_class_colours(dataset: Path) -> None:
    page = _Page(validation_page(replace(_result(dataset), near_duplicates=[]), dataset, _manifest()))
    names = [text for text in page.texts if text.startswith("images/")]
    shown = {subset: [name for name in names if f"/{subset}_" in name] for subset in COUNTS}
    assert {subset: len(set(own)) for subset, own in shown.items()} == {
        subset: min(COUNTS[subset], SHOWN[subset]) for subset in COUNTS
    }
    for name, picture in zip(names, page.pictures(), strict=True):
        red, green = picture[15, 20, :2].astype(int)
        assert (red > green + 60) == ("/unlabeled_" not in name), name


def test_a_sample_that_cannot_be_read_is_not_shown(dataset: Path) -> None:
    result = _result(dataset)
    bad = {f"val/val_{index:02d}": "gone" for index in (0, 1)}
    broken = replace(result, checks=[_check("files", False, "error", bad)], near_duplicates=[])
    names = [text for text in _Page(validation_page(broken, dataset, _manifest())).texts if "images/val" in text]
    assert names == ["images/val/val_02.png"]


def test_near_duplicates_stand_side_by_side_the_nearest_first(dataset: Path) -> None:
    pairs = [
        NearTwin("val/val_00", "images/val/val_00.png", f"images/train/labeled_{index:02d}.png", 19 - index, 20)
        for index in range(20)
    ]
    page = _Page(validation_page(replace(_result(dataset), near_duplicates=pairs), dataset, _manifest()))
    found = [int(match[1]) for text in page.texts if (match := re.fullmatch(r"images.*\((\d+) bits\)", text))]
    assert found == list(range(SHOWN_PAIRS))
    assert "of 20 pairs" in " ".join(page.texts)


@pytest.mark.parametrize(("pairs", "said"), [([], "No validation or test image"), (None, "were not looked for")])
def test_the_page_says_why_there_are_no_near_duplicates(dataset: Path, pairs: list[NearTwin] | None, said: str) -> None:
    assert said in validation_page(replace(_result(dataset), near_duplicates=pairs), dataset, _manifest())


def test_drift_is_shown_as_figures_and_distributions(dataset: Path) -> None:
    html = validation_page(_result(dataset), dataset, _manifest())
    assert html.count("<polyline") == len(_result(dataset).drift) == 9
    assert 'aria-label="Distribution of brightness"' in html
    assert "nothing to compare" in validation_page(replace(_result(dataset), drift=[]), dataset, _manifest())


def test_a_long_list_of_offenders_is_cut(dataset: Path) -> None:
    many = {str(index): f"offender {index}" for index in range(LISTED_OFFENDERS + 7)}
    html = validation_page(
        replace(_result(dataset), checks=[_check("labels", False, "error", many)]), dataset, _manifest()
    )
    assert html.count("<li>offender ") == LISTED_OFFENDERS
    assert "and 7 more, see the JSON file" in html


def _widths(shares: dict[str, float]) -> list[float]:
    svg = class_chart({"val": shares}, dict.fromkeys(shares, 1), COLORS)
    return [float(width) for width in re.findall(r'class="val" [^>]*width="([\d.]+)"', svg)]


def test_near_shares_are_drawn_linearly_and_distant_ones_logarithmically() -> None:
    near = {"sky": 0.8, "road": 0.2, "car": 0.0}
    far = {"sky": 0.1, "road": 0.01, "car": 0.001}
    assert not is_logarithmic({"val": near})
    assert is_logarithmic({"val": {**far, "car": 0.0009}})
    first, second, none = _widths(near)
    assert (first / second, none) == pytest.approx((4, 1))
    first, second, third = _widths({**far, "car": 0.0009})
    assert first - second == pytest.approx(second - third, rel=0.1)
    assert third > 1


def test_labelled_images_are_drawn_by_class() -> None:
    svg = class_chart({}, {"sky": 10, "road": 5, "car": 0}, COLORS)
    widths = [float(width) for width in re.findall(r'class="labeled" [^>]*width="([\d.]+)"', svg)]
    assert widths[0] == 2 * widths[1]
    assert widths[2] == 1


@pytest.mark.parametrize("shape", [(1000, 500), (300, 2000), (10, 20), (1, 3000)])
def test_thumbnails_keep_proportions_and_fit_their_box(shape: tuple[int, int]) -> None:
    small = _decoded(thumbnail(np.zeros((*shape, 3), np.uint8))).shape[:2]
    assert all(side <= room for side, room in zip(small, BOX, strict=True))
    if min(shape) > 1:
        assert small[0] / small[1] == pytest.approx(shape[0] / shape[1], rel=0.05)
