"""Published partitions: the lists of Chen et al. 2021, downloaded or from a folder, checked at use."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unreliable_web import Web

from ucc.config import PUBLISHED_RATIOS, PartitionParams
from ucc.data import published
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.partition import describe_partition, make_partition
from ucc.data.published import PUBLISHED, Publication, published_ids
from ucc.errors import UserError

PUBLIC_LISTS = Path(__file__).resolve().parents[3] / "shared/splits/cps"
TOTAL, COUNTS = 32, (2, 4, 8, 16)
STEMS = [f"2007_{index:06d}" for index in range(TOTAL)]
TRAIN = [f"train/{stem}" for stem in STEMS]
SLUGS = ("1-16", "1-8", "1-4", "1-2")


def write_lists(folder: Path, prefix: str = "", line: str = "{}") -> None:
    """Lists of `TOTAL` images, the labelled ones of a ratio being the first of `STEMS`."""
    folder.mkdir(parents=True, exist_ok=True)
    for slug, count in zip(SLUGS, COUNTS, strict=True):
        for kind, stems in (("labeled", STEMS[:count]), ("unlabeled", STEMS[count:])):
            text = "".join(line.format(stem) + "\n" for stem in stems)
            (folder / f"{prefix}{kind}_{slug}.txt").write_text(text)


def publication(folder: Path, **changes: Any) -> Publication:
    """A publication of the lists that lie in `folder`, as they are now."""
    hashes = tuple(
        tuple(
            hashlib.sha256((folder / f"{kind}_{slug}.txt").read_bytes()).hexdigest()
            for kind in ("labeled", "unlabeled")
        )
        for slug in SLUGS
    )
    facts = {
        "address": "http://127.0.0.1:1/lists",
        "folder": "tiny",
        "total": TOTAL,
        "labeled": COUNTS,
        "sha256": hashes,
    }
    return Publication(**facts | changes)


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of lists, published under the name voc2012."""
    write_lists(tmp_path / "lists")
    monkeypatch.setitem(PUBLISHED, "voc2012", publication(tmp_path / "lists"))
    return tmp_path / "lists"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, destination: Path, checksum: str) -> None:
        raise AssertionError(f"asked for {url}, {destination}, {checksum}")

    monkeypatch.setattr(published, "fetch", refuse)


@pytest.mark.skipif(not PUBLIC_LISTS.is_dir(), reason="the published lists are not part of the project")
@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_public_lists_are_the_pinned_ones(name: str) -> None:
    expected = {"voc2012": (662, 1323, 2646, 5291), "cityscapes": (186, 372, 744, 1488)}[name]
    total = {"voc2012": 10582, "cityscapes": 2975}[name]
    files = published._given(PUBLISHED[name], PUBLIC_LISTS)
    train = [id_ for ids in published._read_pair(files[Fraction(1, 2)]) for id_ in ids]
    for ratio, count in zip(PUBLISHED_RATIOS, expected, strict=True):
        labeled, unlabeled = published_ids(name, ratio, PUBLIC_LISTS, Path("none"), train)
        assert (len(labeled), len(unlabeled)) == (count, total - count)
        assert set(labeled).isdisjoint(unlabeled)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("subfolder", "prefix"), [("", ""), ("tiny", ""), ("", "train_aug_")], ids=["plain", "by data set", "as published"]
)
@pytest.mark.usefixtures("lists")
def test_lists_are_found_in_every_layout_they_are_passed_around_in(tmp_path: Path, subfolder: str, prefix: str) -> None:
    write_lists(tmp_path / "mine" / subfolder, prefix)
    labeled, unlabeled = published_ids("voc2012", Fraction(1, 8), tmp_path / "mine", Path("none"), TRAIN)
    assert (labeled, unlabeled) == (TRAIN[:4], TRAIN[4:])


@pytest.mark.usefixtures("no_network")
def test_a_line_may_hold_the_paths_of_image_and_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lists(tmp_path, line="/images/train/{0}.png\t/segmentation/train/{0}_gtFine.png")
    monkeypatch.setitem(PUBLISHED, "cityscapes", publication(tmp_path))
    labeled, _ = published_ids("cityscapes", Fraction(1, 16), tmp_path, Path("none"), TRAIN)
    assert labeled == TRAIN[:2]


@pytest.mark.usefixtures("no_network")
def test_line_ends_of_another_system_change_nothing(lists: Path) -> None:
    for path in lists.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert published_ids("voc2012", Fraction(1, 2), lists, Path("none"), TRAIN)[0] == TRAIN[:16]


@pytest.mark.usefixtures("no_network")
def test_all_changed_and_missing_lists_are_named_at_once(lists: Path) -> None:
    (lists / "labeled_1-8.txt").write_text("2007_000001\n")
    (lists / "unlabeled_1-2.txt").unlink()
    with pytest.raises(UserError) as caught:
        published_ids("voc2012", Fraction(1, 16), lists, Path("none"), TRAIN)
    message = str(caught.value)
    assert "labeled_1-8.txt: not the published list" in message
    assert "unlabeled_1-2.txt: missing" in message
    assert "partition.labeled_ids" in message


def test_a_folder_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match=r"partition\.lists = nowhere: no such folder"):
        published_ids("voc2012", Fraction(1, 16), Path("nowhere"), Path("none"), TRAIN)


def test_lists_are_downloaded_once_and_again_if_they_changed(
    lists: Path, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files = {f"lists/train_aug_{path.name}": path.read_bytes() for path in lists.iterdir()}
    monkeypatch.setitem(PUBLISHED, "voc2012", publication(lists, address=web.url("lists")))
    for _ in range(2):
        assert published_ids("voc2012", Fraction(1, 4), None, tmp_path / "raw", TRAIN)[0] == TRAIN[:8]
    assert len(web.ranges) == 8
    (tmp_path / "raw/tiny/labeled_1-4.txt").write_text("")
    assert published_ids("voc2012", Fraction(1, 4), None, tmp_path / "raw", TRAIN)[0] == TRAIN[:8]
    assert len(web.ranges) == 9


@pytest.mark.usefixtures("lists")
def test_without_a_network_the_folder_that_may_hold_the_lists_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.data.fetch.PAUSE", 0.0)
    with pytest.raises(
        UserError, match=r"127\.0\.0\.1:1/lists(?s:.)*set partition\.lists to the folder that holds labeled_1-16"
    ):
        published_ids("voc2012", Fraction(1, 8), None, tmp_path / "kept", TRAIN)
    assert not list((tmp_path / "kept").rglob("*.txt"))


def test_a_list_that_is_no_longer_the_published_one_is_not_used(
    lists: Path, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files = {f"lists/train_aug_{path.name}": path.read_bytes() for path in lists.iterdir()}
    web.files["lists/train_aug_labeled_1-16.txt"] += b"2007_000031\n"
    monkeypatch.setitem(PUBLISHED, "voc2012", publication(lists, address=web.url("lists")))
    with pytest.raises(UserError, match="checksum"):
        published_ids("voc2012", Fraction(1, 4), None, tmp_path / "raw", TRAIN)
    assert not (tmp_path / "raw/tiny/labeled_1-16.txt").exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("labeled_1-16.txt", STEMS[:1], "hold 1 and 30 images instead of 2 and 30"),
        ("labeled_1-16.txt", [STEMS[0], STEMS[5]], "list an image twice"),
        ("labeled_1-16.txt", [STEMS[0], STEMS[0]], "list an image twice"),
        ("unlabeled_1-8.txt", [*STEMS[4:-1], "2011_000000"], "list other images than the other ratios do"),
    ],
)
def test_lists_must_be_disjoint_complete_and_of_the_published_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: list[str], problem: str
) -> None:
    write_lists(tmp_path)
    (tmp_path / name).write_text("\n".join(text) + "\n")
    monkeypatch.setitem(PUBLISHED, "voc2012", publication(tmp_path))
    with pytest.raises(UserError, match=problem):
        published_ids("voc2012", Fraction(1, 2), tmp_path, Path("none"), TRAIN)


@pytest.mark.usefixtures("no_network")
def test_labelled_sets_must_be_nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lists(tmp_path)
    (tmp_path / "labeled_1-8.txt").write_text("\n".join(STEMS[1:5]) + "\n")
    (tmp_path / "unlabeled_1-8.txt").write_text("\n".join([STEMS[0], *STEMS[5:]]) + "\n")
    monkeypatch.setitem(PUBLISHED, "voc2012", publication(tmp_path))
    with pytest.raises(UserError, match="lack labelled images of the smaller ratio"):
        published_ids("voc2012", Fraction(1, 2), tmp_path, Path("none"), TRAIN)


@pytest.mark.usefixtures("no_network")
def test_a_data_set_that_is_not_the_listed_one_is_refused(lists: Path) -> None:
    with pytest.raises(UserError) as caught:
        published_ids("voc2012", Fraction(1, 2), lists, Path("none"), [*TRAIN[1:], "train/extra"])
    assert "1 of the listed images are not in the data set: train/2007_000000" in str(caught.value)
    assert "1 images of the data set are not listed: train/extra" in str(caught.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("ratio", "count"), [("1/16", 2), (" 1 / 16", 2), (0.125, 4), ("0.5", 16)])
def test_the_partition_follows_the_lists(lists: Path, tmp_path: Path, ratio: Any, count: int) -> None:
    dataset = tmp_path / "dataset"
    DatasetInfo("voc2012", ("background", "cat"), ((0, 0, 0), (9, 9, 9))).write(dataset)
    for place in [*(f"train/{stem}" for stem in STEMS), "val/2007_999999"]:
        write_png(dataset / f"images/{place}.png", np.zeros((4, 4, 3), np.uint8))
        write_png(dataset / f"masks/{place}.png", np.zeros((4, 4), np.uint8))
    params = PartitionParams(
        protocol="cps", lists=str(lists), ratio=ratio, seed=0, labeled_ids=None, unlabeled_ids=None, tuning_share=None
    )
    manifest = make_partition(dataset, params, tmp_path / "raw")
    assert [sample.id for sample in manifest.subset("labeled")] == TRAIN[:count]
    assert not any(sample.mask for sample in manifest.subset("unlabeled"))
    summary = describe_partition(dataset, manifest, params)
    assert (summary["protocol"], summary["ratio"], summary["seed"]) == ("cps", ratio, None)
    (dataset / f"masks/{TRAIN[0]}.png").unlink()
    with pytest.raises(UserError, match=f"without a mask in masks/train: {TRAIN[0]}"):
        make_partition(dataset, params, tmp_path / "raw")
