from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ucc.config import EvaluateParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, read_image, write_png
from ucc.data.manifest import Sample
from ucc.data.samples import evenly_spaced
from ucc.panels import Prediction, draw_panel, write_panels

ROAD, CAR, SKY = (128, 64, 128), (0, 0, 142), (70, 130, 180)
INFO = DatasetInfo("toy", ("road", "car", "sky"), (ROAD, CAR, SKY))
CPU = torch.device("cpu")


class Constant(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.zeros_like(images, dtype=torch.float32), images.float()]


def samples(count: int) -> tuple[Sample, ...]:
    return tuple(Sample(f"val/{i:02}", f"images/val/{i:02}.png", f"masks/val/{i:02}.png", "val") for i in range(count))


def params(panels: int) -> EvaluateParams:
    return EvaluateParams(
        checkpoint="final",
        split="val",
        sliding_window=False,
        window=[16, 16],
        stride=[8, 8],
        panels=panels,
        pseudo_label_images=0,
    )


def panel(height: int = 40, width: int = 60, truth: int = 0, classes: int = 0, name: str = "street") -> Image:
    image = np.full((height, width, 3), (9, 200, 31), np.uint8)
    prediction = Prediction(np.full((height, width), classes, np.uint8), np.full((height, width), 0.5, np.float32))
    return draw_panel(image, np.full((height, width), truth, np.uint8), prediction, INFO, name)


def area(picture: Image, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=2).sum())


def test_the_choice_of_images_is_fixed_evenly_spaced_and_without_repeats() -> None:
    assert [sample.id for sample in evenly_spaced(samples(12), 3)] == ["val/02", "val/06", "val/10"]
    assert evenly_spaced(samples(3), 8) == list(samples(3))
    assert evenly_spaced(samples(3), 0) == []
    for count in range(1, 21):
        assert len(set(evenly_spaced(samples(20), count))) == count


def test_a_panel_shows_image_truth_and_prediction_side_by_side_in_their_colors() -> None:
    picture = panel(truth=0, classes=2)
    middle = picture.shape[0] // 2
    row = [tuple(int(v) for v in pixel) for pixel in picture[middle]]
    order = [color for color in dict.fromkeys(row) if color in {(9, 200, 31), ROAD, SKY}]
    assert order == [(9, 200, 31), ROAD, SKY]


def test_the_legend_lists_only_classes_that_are_present() -> None:
    tile = area(panel(truth=0, classes=0), ROAD) // 2
    both = panel(truth=0, classes=1)
    assert 0 < area(both, ROAD) < tile + 1000
    assert area(both, CAR) > 0
    assert area(both, SKY) == 0


def test_uncertainty_is_drawn_from_dark_to_bright_on_a_fixed_scale() -> None:
    def brightness(value: float) -> float:
        prediction = Prediction(np.zeros((400, 400), np.uint8), np.full((400, 400), value, np.float32))
        black = np.zeros((400, 400, 3), np.uint8)
        picture = draw_panel(black, np.zeros((400, 400), np.uint8), prediction, INFO, "x")
        return float(picture[200:300, -300:-100].mean())

    levels = [brightness(value) for value in (0.0, 0.3, 0.6, 1.0)]
    assert levels == sorted(set(levels))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (32, 64), (360, 480), (512, 1024), (300, 90)])
def test_tiles_are_wide_enough_to_read_and_never_huge(height: int, width: int) -> None:
    picture = panel(height, width)
    assert 1600 < picture.shape[1] < 3500
    assert picture.dtype == np.uint8


def test_a_panel_copes_with_masks_that_are_ignored_throughout_and_names_beyond_ascii() -> None:
    assert panel(truth=255, name="Straße_01").shape == panel().shape


def test_one_picture_per_chosen_image_replaces_the_pictures_of_an_earlier_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for sample in samples(4):
        write_png(tmp_path / sample.image, rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
        write_png(tmp_path / sample.mask, np.zeros((16, 24), np.uint8))
    folder = tmp_path / "reports" / "panels"
    for count, names in ((4, ["00.png", "01.png", "02.png", "03.png"]), (2, ["01.png", "03.png"]), (0, [])):
        write_panels(Constant(), samples(4), tmp_path, INFO, params(count), CPU, folder)
        assert sorted(path.name for path in folder.iterdir()) == names


def test_pictures_show_head_1(tmp_path: Path) -> None:
    (sample,) = samples(1)
    write_png(tmp_path / sample.image, np.full((16, 24, 3), (0, 0, 255), np.uint8))
    write_png(tmp_path / sample.mask, np.zeros((16, 24), np.uint8))
    write_panels(Constant(), [sample], tmp_path, INFO, params(1), CPU, tmp_path / "panels")
    # Head 1 ties and so predicts class 0; head 2 would predict class 2.
    assert area(read_image(tmp_path / "panels" / "00.png"), SKY) == 0
