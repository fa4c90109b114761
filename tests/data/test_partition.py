"""The partition keeps its promises: nested, covering, complete, and the same everywhere."""

import itertools
import shutil
import unicodedata
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucc.config import PartitionParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest
from ucc.data.partition import describe_partition, labeled_count, labeling_order, make_partition
from ucc.errors import UserError

CLASSES = ("sky", "road", "car", "pole")
COLORS = ((70, 130, 180), (128, 64, 128), (0, 0, 142), (153, 153, 153))
IMAGES = 24
RARE = ("05", "17")

PRESENCE = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.frozensets(st.integers(0, 7)), min_size=1, max_size=40
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training images, of which two show the class `pole`, and two validation images."""
    folder = tmp_path_factory.mktemp("dataset")
    DatasetInfo("tiny", CLASSES, COLORS).write(folder)
    for index in range(IMAGES):
        name = f"{index:02d}"
        _add(folder, "train", name, value=index, shown=(3,) if name in RARE else (index % 3, 0))
    _add(folder, "val", "a", value=100, shown=(0, 1))
    _add(folder, "val", "b", value=101, shown=(0, 2))
    return folder


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the data set that the test may spoil."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def _add(folder: Path, split: str, name: str, value: int, shown: tuple[int, ...]) -> None:
    write_png(folder / "images" / split / f"{name}.png", np.full((4, 8, 3), value, np.uint8))
    mask = np.resize(np.array(shown, np.uint8), (4, 8))
    write_png(folder / "masks" / split / f"{name}.png", mask)


# A random partition has none.
NO_DOWNLOADS = Path("none")


def _params(ratio: Any = None, seed: int = 0, tuning_share: float | None = None, **lists: Path) -> PartitionParams:
    paths = {"labeled_ids": None, "unlabeled_ids": None} | {key: str(path) for key, path in lists.items()}
    return PartitionParams(protocol="random", lists=None, ratio=ratio, seed=seed, tuning_share=tuning_share, **paths)


def _ids(manifest: Manifest, subset: str) -> set[str]:
    return {sample.id for sample in manifest.subset(subset)}


@given(present=PRESENCE, seed=st.integers(0, 2**32))
def test_every_image_has_one_place_in_the_order(present: dict[str, frozenset[int]], seed: int) -> None:
    assert sorted(labeling_order(present, seed)) == sorted(present)


@given(present=PRESENCE, seed=st.integers(0, 2**32))
def test_as_many_images_as_there_are_classes_show_every_class(present: dict[str, frozenset[int]], seed: int) -> None:
    everything = frozenset[int]().union(*present.values())
    first = labeling_order(present, seed)[: len(everything)]
    assert frozenset[int]().union(*(present[id_] for id_ in first)) == everything


@given(present=PRESENCE, seed=st.integers(0, 2**32))
def test_an_image_is_preferred_only_if_it_adds_a_class(present: dict[str, frozenset[int]], seed: int) -> None:
    order = labeling_order(present, seed)
    shuffled = labeling_order(dict.fromkeys(present, frozenset[int]()), seed)
    everything, seen, preferred = frozenset[int]().union(*present.values()), frozenset[int](), []
    while seen != everything:
        preferred.append(order[len(preferred)])
        assert not present[preferred[-1]] <= seen
        seen |= present[preferred[-1]]
    assert order[len(preferred) :] == [id_ for id_ in shuffled if id_ not in preferred]


def test_one_image_that_shows_all_classes_is_enough_to_cover_them() -> None:
    present = {"a": frozenset({0, 1}), "b": frozenset({1, 2}), "c": frozenset({0, 1, 2}), "d": frozenset({0})}
    assert all(labeling_order(present, seed)[0] == "c" for seed in range(20))


def test_images_without_rare_classes_are_drawn_uniformly() -> None:
    present = {str(index): frozenset({0}) for index in range(10)}
    firsts = [labeling_order(present, seed)[0] for seed in range(1000)]
    counts = [firsts.count(id_) for id_ in present]
    assert min(counts) > 60
    assert max(counts) < 140


def test_a_new_image_leaves_the_order_of_the_others_as_it_was() -> None:
    present = {str(index): frozenset[int]() for index in range(30)}
    before = labeling_order(present, seed=3)
    after = labeling_order(present | {"new": frozenset[int]()}, seed=3)
    assert [id_ for id_ in after if id_ != "new"] == before


@pytest.mark.parametrize("seed", range(5))
def test_smaller_labelled_sets_lie_inside_larger_ones(dataset: Path, seed: int) -> None:
    ratios = (1, "1/16", "1/8", 5, "1/4", 0.5, "3/4", None)
    sets = [_ids(make_partition(dataset, _params(ratio, seed), NO_DOWNLOADS), "labeled") for ratio in ratios]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(sets))


@pytest.mark.parametrize(
    ("ratio", "count"),
    [
        ("1/16", 2),
        ("1/2", 12),
        (0.25, 6),
        ("1/1000", 1),
        (7, 7),
        (1.0, 24),
        (None, 24),
        ("5/48", 3),
        ("1/12", 2),
    ],
)
def test_a_ratio_is_a_share_of_the_training_images(dataset: Path, ratio: Any, count: int) -> None:
    assert len(_ids(make_partition(dataset, _params(ratio), NO_DOWNLOADS), "labeled")) == count


def test_every_training_image_is_either_labelled_or_unlabelled(dataset: Path) -> None:
    manifest = make_partition(dataset, _params("1/4"), NO_DOWNLOADS)
    labeled, unlabeled = _ids(manifest, "labeled"), _ids(manifest, "unlabeled")
    assert not labeled & unlabeled
    assert labeled | unlabeled == {f"train/{index:02d}" for index in range(IMAGES)}
    assert _ids(manifest, "val") == {"val/a", "val/b"}


def test_two_labelled_images_show_the_rare_class(dataset: Path) -> None:
    rare = {f"train/{name}" for name in RARE}
    for seed in range(10):
        assert _ids(make_partition(dataset, _params(3, seed), NO_DOWNLOADS), "labeled") & rare


def test_another_seed_labels_other_images(dataset: Path) -> None:
    chosen = {frozenset(_ids(make_partition(dataset, _params(6, seed), NO_DOWNLOADS), "labeled")) for seed in range(6)}
    assert len(chosen) == 6


def test_only_labelled_training_images_keep_a_mask(dataset: Path) -> None:
    manifest = make_partition(dataset, _params("1/4"), NO_DOWNLOADS)
    assert {sample.mask for sample in manifest.subset("unlabeled")} == {""}
    for sample in manifest.subset("labeled") + manifest.subset("val"):
        assert sample.mask == f"masks/{sample.id}.png"


def test_the_hash_does_not_depend_on_the_order_of_the_file_system(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_partition(dataset, _params("1/4"), NO_DOWNLOADS).hash
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(listed(folder), reverse=True))
    assert make_partition(dataset, _params("1/4"), NO_DOWNLOADS).hash == expected


def test_the_choice_is_the_same_on_every_machine() -> None:
    present = {f"train/{index}": frozenset[int]() for index in range(5)}
    assert labeling_order(present, seed=0) == ["train/3", "train/4", "train/2", "train/1", "train/0"]


def test_images_without_masks_are_unlabelled(copy: Path) -> None:
    for index in range(4, IMAGES):
        (copy / f"masks/train/{index:02d}.png").unlink()
    manifest = make_partition(copy, _params(None), NO_DOWNLOADS)
    assert _ids(manifest, "labeled") == {"train/00", "train/01", "train/02", "train/03"}
    assert len(_ids(manifest, "unlabeled")) == 20


def test_a_broken_mask_of_an_unlabelled_image_does_not_matter(copy: Path) -> None:
    chosen = make_partition(copy, _params(3), NO_DOWNLOADS)
    victim = chosen.subset("unlabeled")[0].id
    (copy / f"masks/{victim}.png").write_bytes(b"no picture")
    assert make_partition(copy, _params(3), NO_DOWNLOADS).hash == chosen.hash


@pytest.mark.parametrize("ratio", [9, "1/2"])
def test_asking_for_more_masks_than_there_are_says_how_many_there_are(copy: Path, ratio: Any) -> None:
    for index in range(4, IMAGES):
        (copy / f"masks/train/{index:02d}.png").unlink()
    with pytest.raises(UserError, match=r"partition\.ratio.*24.*only 4 have masks"):
        make_partition(copy, _params(ratio), NO_DOWNLOADS)


def test_what_a_tuning_share_holds_out_is_named_where_it_leaves_too_few(dataset: Path) -> None:
    with pytest.raises(
        UserError, match=r"asks for 24 .* only 18 have masks and are neither .* held out by .*tuning_share"
    ):
        make_partition(dataset, _params("1.0", tuning_share=0.25), NO_DOWNLOADS)


def test_a_list_finds_a_name_in_either_spelling_of_an_accent(copy: Path, tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    _add(copy, "train", composed, value=99, shown=(0, 1))
    (tmp_path / "labeled.txt").write_text(f"00\n{apart}\n", encoding="utf-8")
    manifest = make_partition(copy, _params(labeled_ids=tmp_path / "labeled.txt"), NO_DOWNLOADS)
    assert {sample.id for sample in manifest.subset("labeled")} == {"train/00", f"train/{composed}"}


def test_masks_under_other_names_than_the_images_are_explained(copy: Path) -> None:
    for path in sorted((copy / "masks/train").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    with pytest.raises(UserError, match=r"none of the 24 .* a mask, listed in partition\.unlabeled_ids or held out"):
        make_partition(copy, _params("1/4"), NO_DOWNLOADS)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_data_set_without_images_names_the_empty_folder(copy: Path, split: str) -> None:
    shutil.rmtree(copy / "images" / split)
    with pytest.raises(UserError, match=rf"images/{split}: holds no images"):
        make_partition(copy, _params("1/4"), NO_DOWNLOADS)


def test_two_images_of_one_name_are_refused(copy: Path) -> None:
    (copy / "images/train/03.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"03\.png.*03\.jpg"):
        make_partition(copy, _params("1/4"), NO_DOWNLOADS)


def test_hidden_files_are_no_images(copy: Path) -> None:
    (copy / "images/train/._03.png").write_bytes(b"")
    assert "train/._03" not in _ids(make_partition(copy, _params("1/4"), NO_DOWNLOADS), "unlabeled")


def test_given_ids_decide_what_is_labelled(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_text("# my choice\n02\n\n  train/11 \n")
    manifest = make_partition(dataset, _params("1/2", labeled_ids=tmp_path / "labeled.txt"), NO_DOWNLOADS)
    assert _ids(manifest, "labeled") == {"train/02", "train/11"}
    assert len(_ids(manifest, "unlabeled")) == IMAGES - 2


def test_images_in_neither_given_list_are_left_out(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_text("02\n")
    (tmp_path / "unlabeled.txt").write_text("03\n04\n")
    lists = {"labeled_ids": tmp_path / "labeled.txt", "unlabeled_ids": tmp_path / "unlabeled.txt"}
    manifest = make_partition(dataset, _params(**lists), NO_DOWNLOADS)
    assert [sample.id for sample in manifest.samples] == [
        "train/02",
        "train/03",
        "train/04",
        "val/a",
        "val/b",
    ]


def test_images_listed_as_unlabelled_are_never_drawn(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "unlabeled.txt").write_text("\n".join(f"{index:02d}" for index in range(20)))
    manifest = make_partition(dataset, _params(None, unlabeled_ids=tmp_path / "unlabeled.txt"), NO_DOWNLOADS)
    assert _ids(manifest, "labeled") == {"train/20", "train/21", "train/22", "train/23"}


def test_all_faults_of_the_lists_are_named_at_once(copy: Path, tmp_path: Path) -> None:
    (copy / "masks/train/07.png").unlink()
    (tmp_path / "labeled.txt").write_text("02\n02\n07\nval/a\nghost\n05\n")
    (tmp_path / "unlabeled.txt").write_text("05\nphantom\n")
    lists = {"labeled_ids": tmp_path / "labeled.txt", "unlabeled_ids": tmp_path / "unlabeled.txt"}
    with pytest.raises(UserError) as caught:
        make_partition(copy, _params(**lists), NO_DOWNLOADS)
    message = str(caught.value)
    assert "labeled.txt: no such training image: val/a, train/ghost" in message
    assert "labeled.txt: listed more than once: train/02" in message
    assert "labeled.txt: without a mask in masks/train: train/07" in message
    assert "unlabeled.txt: no such training image: train/phantom" in message
    assert "in both lists: train/05" in message


def test_an_image_of_a_nested_folder_that_is_listed_by_its_path_gets_a_hint(copy: Path, tmp_path: Path) -> None:
    _add(copy, "train", "x__b", value=9, shown=(0,))
    (tmp_path / "ids.txt").write_text("x/b\ntrain/x/b.png\nx/y\n/\n")
    with pytest.raises(UserError) as caught:
        make_partition(copy, _params("1/2", labeled_ids=tmp_path / "ids.txt"), NO_DOWNLOADS)
    expected = "no such training image: x/b (did you mean x__b?), train/x/b.png (did you mean x__b?), x/y, /"
    assert expected in str(caught.value)


def test_an_image_that_is_listed_with_the_ending_that_it_had_gets_a_hint(copy: Path, tmp_path: Path) -> None:
    _add(copy, "train", "x__b", value=9, shown=(0,))
    (tmp_path / "ids.txt").write_text("x/b_sat.png\nx__b_sat\n02sat\n")
    with pytest.raises(UserError) as caught:
        make_partition(copy, _params("1/2", labeled_ids=tmp_path / "ids.txt"), NO_DOWNLOADS)
    expected = (
        "no such training image: x/b_sat.png (did you mean x__b?), train/x__b_sat (did you mean x__b?), train/02sat"
    )
    assert f"{expected}\n" in f"{caught.value}\n"


@pytest.mark.parametrize("content", [None, "# nothing\n"])
def test_a_missing_or_empty_list_names_its_key(dataset: Path, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(UserError, match=r"ids\.txt \(partition\.labeled_ids\)"):
        make_partition(dataset, _params(labeled_ids=tmp_path / "ids.txt"), NO_DOWNLOADS)


def test_the_summary_counts_images_and_classes(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("05\n17\n00\n01\n")
    drawn = _params("1/4", seed=7)
    manifest = make_partition(dataset, drawn, NO_DOWNLOADS)
    summary = describe_partition(dataset, manifest, drawn)
    assert (summary["hash"], summary["ratio"], summary["seed"]) == (manifest.hash, "1/4", 7)
    assert summary["images"] == {"labeled": 6, "unlabeled": 18, "val": 2, "test": 0}

    given_ids = _params("1/4", labeled_ids=tmp_path / "ids.txt")
    summary = describe_partition(dataset, make_partition(dataset, given_ids, NO_DOWNLOADS), given_ids)
    assert (summary["ratio"], summary["seed"]) == (None, None)
    assert summary["labeled_images_per_class"] == {"sky": 2, "road": 1, "car": 0, "pole": 2}


@pytest.mark.parametrize(
    ("total", "counts"), [(2975, (186, 372, 744, 1488)), (10582, (662, 1323, 2646, 5291))], ids=["cityscapes", "voc"]
)
def test_the_labelled_share_is_the_published_count(total: int, counts: tuple[int, ...]) -> None:
    assert tuple(labeled_count(f"1/{n}", total, total) for n in (16, 8, 4, 2)) == counts


@given(total=st.integers(1, 20000), denominator=st.integers(1, 64))
def test_the_labelled_share_is_rounded_up(total: int, denominator: int) -> None:
    assert 0 <= labeled_count(f"1/{denominator}", total, total) - Fraction(total, denominator) < 1


def test_a_tuning_share_takes_the_place_of_val(dataset: Path) -> None:
    usual, tuning = (
        make_partition(dataset, _params("1/4", tuning_share=share), NO_DOWNLOADS) for share in (None, 0.25)
    )
    assert _ids(tuning, "val") == {f"train/{index}" for index in range(18, 24)}
    assert all(sample.mask for sample in tuning.subset("val"))
    assert not (_ids(tuning, "labeled") | _ids(tuning, "unlabeled")) & _ids(tuning, "val")
    assert len(tuning.samples) == IMAGES
    assert len(tuning.subset("labeled")) == len(usual.subset("labeled"))
    assert tuning.hash != usual.hash


def test_given_lists_may_name_images_that_are_held_out(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_text("00\n05\n23\n")
    manifest = make_partition(dataset, _params(tuning_share=0.25, labeled_ids=tmp_path / "labeled.txt"), NO_DOWNLOADS)
    assert _ids(manifest, "labeled") == {"train/00", "train/05"}
    assert "train/23" in _ids(manifest, "val")


def test_the_rarest_class_is_seen_to_first() -> None:
    present = {f"common {index}": frozenset({0, 1}) for index in range(9)} | {"rare": frozenset({2})}
    assert all(labeling_order(present, seed)[0] == "rare" for seed in range(20))


def test_images_of_test_are_listed_with_their_masks(copy: Path) -> None:
    _add(copy, "test", "z", value=102, shown=(0, 1))
    manifest = make_partition(copy, _params("1/4"), NO_DOWNLOADS)
    assert [(sample.id, sample.mask) for sample in manifest.subset("test")] == [("test/z", "masks/test/z.png")]
    held = make_partition(copy, _params("1/4", tuning_share=0.25), NO_DOWNLOADS)
    assert not held.subset("test")


def test_unlabelled_pixels_are_no_class_to_cover(copy: Path) -> None:
    """An image is labelled first for the classes that it shows, and 255 is none of them."""
    before = make_partition(copy, _params(3), NO_DOWNLOADS)
    for name in (sample.id.removeprefix("train/") for sample in before.subset("unlabeled")[:1]):
        _add(copy, "train", name, value=int(name), shown=(int(name) % 3, 0, 255))
    assert _ids(make_partition(copy, _params(3), NO_DOWNLOADS), "labeled") == _ids(before, "labeled")
