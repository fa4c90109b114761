"""Pseudo labels against masks that training never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ucc.config import EvaluateParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError
from ucc.pseudo_labels import has_collapsed, hidden_truth, measure_pseudo_labels

INFO = DatasetInfo("toy", ("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
PARAMS = EvaluateParams(
    checkpoint="final",
    split="val",
    sliding_window=False,
    window=[16, 16],
    stride=[8, 8],
    panels=0,
    pseudo_label_images=9,
)
CPU = torch.device("cpu")


class Certain(nn.Module):
    """Head 1 says class 0 everywhere; head 2 class 1, more surely where the image is bright."""

    heads = 2

    def forward(self, images: Tensor) -> list[Tensor]:
        bright = images[:, :1].float() > 127
        zero = torch.zeros_like(bright, dtype=torch.float32)
        first = torch.cat([zero + 3, zero, zero], dim=1)
        second = torch.cat([zero, torch.where(bright, 5.0, 1.0), zero], dim=1)
        return [first, second][: self.heads]


class Alone(Certain):
    heads = 1


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, Manifest]:
    """Three unlabelled images, of which the first two have a hidden mask, and one whose mask is no image."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 200
    samples = [
        Sample(f"train/{i}", f"images/train/{i}.png", "", "unlabeled") for i in ("one", "two", "three", "broken")
    ]
    for sample in samples:
        write_png(tmp_path / sample.image, image)
    # Of the bright right half three quarters are class 1, the dark left half is class 0 except for one ignored column.
    mask = np.array([[255, 0, 1, 1], [255, 0, 1, 1], [255, 0, 1, 1], [255, 0, 2, 2]], np.uint8)
    write_png(tmp_path / "masks/train/one.png", mask)
    write_png(tmp_path / "masks/train/two.png", mask)
    (tmp_path / "masks/train/broken.png").write_text("no image")
    labeled = Sample("train/l", "images/train/one.png", "masks/train/one.png", "labeled")
    return tmp_path, Manifest([*samples, labeled])


def test_only_unlabeled_images_with_a_mask_are_drawn(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    found = hidden_truth(folder, manifest, 9)
    assert {sample.id for sample in found} == {"train/one", "train/two", "train/broken"}
    assert all(sample.subset == "unlabeled" and (folder / sample.mask).is_file() for sample in found)
    assert len(hidden_truth(folder, manifest, 1)) == 1
    assert hidden_truth(folder, manifest, 1) == hidden_truth(folder, manifest, 1)
    assert hidden_truth(folder, manifest, 0) == []


def test_figures_say_who_is_right(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    figures, by_class = measure_pseudo_labels(Certain(), hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)
    assert figures["images"] == 2
    assert figures["head_1"]["accuracy"] == pytest.approx(100 * 4 / 12, abs=1e-4)
    assert figures["head_2"]["accuracy"] == pytest.approx(100 * 6 / 12, abs=1e-4)
    assert [figures[head]["collapsed"] for head in ("head_1", "head_2")] == [100, 100]
    assert figures["agreement"] == 0
    assert figures["more_certain"]["accuracy"] == pytest.approx(100 * 10 / 12, abs=1e-4)
    assert figures["disagreeing"] == {"more_certain": pytest.approx(100 * 10 / 12, abs=1e-4), "less_certain": 0}
    assert [row["class"] for row in by_class] == list(INFO.classes)
    assert [row["share"] for row in by_class] == pytest.approx([100 / 3, 50, 100 / 6], abs=1e-4)
    assert [row["iou_head_1"] for row in by_class] == pytest.approx([100 / 3, 0, 0], abs=1e-4)
    assert [row["accuracy_head_2"] for row in by_class] == pytest.approx([0, 100, 0], abs=1e-4)


def test_a_hidden_mask_of_other_values_is_left_out(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    write_png(folder / "masks/train/two.png", np.full((4, 4), 3, np.uint8))
    figures, _ = measure_pseudo_labels(Certain(), hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)
    assert figures["images"] == 1


def test_an_image_too_large_for_memory_is_named(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset

    class Large(Alone):
        def forward(self, images: Tensor) -> list[Tensor]:
            assert len(images) == 1
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"images/train/(one|two)\.png"):
        measure_pseudo_labels(Large(), hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)


def test_one_head_has_no_peer(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    figures, by_class = measure_pseudo_labels(Alone(), hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)
    assert "iou_head_2" not in by_class[0]
    assert figures.keys() == {"images", "head_1"}


def test_without_hidden_masks_there_are_no_figures(dataset: tuple[Path, Manifest]) -> None:
    figures, by_class = measure_pseudo_labels(Certain(), [], dataset[0], INFO, PARAMS, CPU)
    assert figures == {"images": 0}
    assert by_class == [{"class": name} for name in INFO.classes]


@pytest.mark.parametrize(
    ("other_labels", "other_truth", "collapsed"), [(0, 50, True), (4, 50, True), (6, 50, False), (0, 4, False)]
)
def test_an_image_has_collapsed_when_nearly_all_is_taken_for_one_class_that_it_is_not(
    other_labels: int, other_truth: int, collapsed: bool
) -> None:
    labels, truth = torch.zeros(10, 10, dtype=torch.int64), torch.zeros(10, 10, dtype=torch.int64)
    labels.view(-1)[:other_labels] = 1
    truth.view(-1)[:other_truth] = 1
    assert has_collapsed(labels, truth, 255) == collapsed


def test_of_an_image_whose_truth_is_unknown_nobody_can_say_that_it_has_collapsed() -> None:
    nothing = torch.full((4, 4), 255)
    assert not has_collapsed(torch.zeros(4, 4, dtype=torch.int64), nothing, 255)


def test_an_image_that_is_half_understood_has_not_collapsed(dataset: tuple[Path, Manifest]) -> None:
    class Halves(Certain):
        def forward(self, images: Tensor) -> list[Tensor]:
            bright = (images[:, :1].float() > 127).float()
            return [torch.cat([1 - bright, bright, 0 * bright], dim=1)]

    folder, manifest = dataset
    figures, _ = measure_pseudo_labels(Halves(), hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)
    assert figures["head_1"]["collapsed"] == 0


def test_where_heads_agree_both_may_be_right_and_neither_counts_as_disagreeing(tmp_path: Path) -> None:
    class Agreeing(nn.Module):
        """Of four columns the heads agree on the first two, on class 0; on the others head 2 is more certain."""

        def forward(self, images: Tensor) -> list[Tensor]:
            scores = torch.zeros(2, *images.shape)
            scores[0, 0, 0] = 3
            scores[1, 0, 0, :, :2] = 1
            scores[1, 0, 1, :, 2:] = 5
            return [*scores]

    sample = Sample("train/a", "images/train/a.png", "masks/train/a.png", "unlabeled")
    write_png(tmp_path / sample.image, np.zeros((4, 4, 3), np.uint8))
    # Of what both call class 0 half is so; of what they differ on a quarter is class 0, a half is class 1.
    write_png(tmp_path / sample.mask, np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 2, 2]], np.uint8))
    figures, _ = measure_pseudo_labels(Agreeing(), [sample], tmp_path, INFO, PARAMS, CPU)
    assert figures["agreement"] == 50
    assert figures["more_certain"] == {"accuracy": 50}
    assert figures["disagreeing"] == {"more_certain": 50, "less_certain": 25}
    assert figures["head_1"]["accuracy"] == pytest.approx(100 * 6 / 16)
    assert figures["head_1"]["miou"] == pytest.approx(100 * 6 / 16 / 3, abs=1e-4)
    assert figures["head_2"]["miou"] == pytest.approx(100 * (4 / 10 + 4 / 8) / 3, abs=1e-4)


def test_hidden_truth_is_drawn_from_the_whole_list(tmp_path: Path) -> None:
    samples = [Sample(f"train/{index:02}", f"images/train/{index:02}.png", "", "unlabeled") for index in range(40)]
    for sample in samples:
        write_png(tmp_path / f"masks/{sample.id}.png", np.zeros((2, 2), np.uint8))
    found = [int(sample.id[-2:]) for sample in hidden_truth(tmp_path, Manifest(samples), 10)]
    assert found == sorted(found)
    assert max(found) >= 20


def test_pseudo_labels_are_measured_as_in_use(dataset: tuple[Path, Manifest]) -> None:
    class Moody(Certain):
        def forward(self, images: Tensor) -> list[Tensor]:
            assert not self.training
            return super().forward(images)

    folder, manifest = dataset
    segmenter = Moody().train()
    measure_pseudo_labels(segmenter, hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)
    assert segmenter.training


def test_labeled_and_validation_images_are_no_hidden_truth(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    others = [replace(manifest.samples[0], id=f"{subset}/x", subset=subset) for subset in ("labeled", "val", "test")]
    for sample in others:
        write_png(folder / f"masks/{sample.id}.png", np.zeros((4, 4), np.uint8))
    assert hidden_truth(folder, Manifest([*manifest.samples, *others]), 9) == hidden_truth(folder, manifest, 9)


def test_each_column_of_a_head_is_that_heads_own(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    _, rows = measure_pseudo_labels(Certain(), hidden_truth(folder, manifest, 9), folder, INFO, PARAMS, CPU)
    # Head 1 says class 0 everywhere, of which a third is so; head 2 class 1, of which half is.
    found = {key: [row[key] for row in rows] for key in rows[0] if key[-1] in "12"}
    assert found == {
        "iou_head_1": pytest.approx([100 / 3, 0, 0], abs=1e-4),
        "accuracy_head_1": [100, 0, 0],
        "iou_head_2": [0, 50, 0],
        "accuracy_head_2": [0, 100, 0],
    }
