"""The flaw detector of GCT and its target."""

import torch
from torch.nn import functional

from ucc.flaws import FlawDetector, flaw_target


def one_hot(masks: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(masks.clamp(max=2), 3).permute(0, 3, 1, 2).float()


def test_a_perfect_prediction_has_no_flaw() -> None:
    masks = torch.randint(0, 3, (2, 32, 48))
    assert flaw_target(one_hot(masks), masks).abs().max() == 0


def test_the_flaw_is_greatest_around_the_error_and_fades_away() -> None:
    masks = torch.zeros(1, 64, 64, dtype=torch.int64)
    wrong = masks.clone()
    wrong[0, 10:20, 40:50] = 1
    flaws = flaw_target(one_hot(wrong), masks)[0]
    assert flaws.max() == 1
    row, column = divmod(int(flaws.argmax()), 64)
    assert 9 <= row <= 20
    assert 39 <= column <= 50
    assert flaws[60, 5] < 0.01


def test_unlabeled_pixels_count_as_right() -> None:
    masks = torch.full((1, 32, 32), 255)
    assert flaw_target(torch.full((1, 3, 32, 32), 1 / 3), masks).abs().max() == 0


def test_the_detector_judges_each_image_by_itself() -> None:
    torch.manual_seed(0)
    detector = FlawDetector(num_classes=3)
    images = torch.randint(0, 256, (2, 3, 48, 32), dtype=torch.uint8)
    probabilities = torch.rand(2, 3, 48, 32).softmax(dim=1)
    together = detector(images, probabilities)
    assert together.shape == (2, 48, 32)
    assert ((together > 0) & (together < 1)).all()
    torch.testing.assert_close(detector(images[1:], probabilities[1:]), together[1:])


def test_crops_of_any_shape_have_a_target() -> None:
    for height, width in ((128, 16), (16, 144), (512, 64)):
        masks = torch.zeros(1, height, width, dtype=torch.int64)
        wrong = masks.clone()
        wrong[0, 4:8, 4:8] = 1
        flaws = flaw_target(one_hot(wrong), masks)
        assert flaws.shape == masks.shape
        assert flaws.isfinite().all()
        assert flaws.max() == 1
