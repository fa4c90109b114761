"""Pseudo labels against masks that training never saw."""

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
