"""The segmenter: a contract that every encoder meets, and what its initialisation promises."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ucc.config import BACKBONES, ModelParams
from ucc.models import Segmenter, build_segmenter
from ucc.models.encoder import Encoder


def model_params(backbone: str = "mobilenet_v2", **changes: object) -> ModelParams:
    values = {
        "backbone": backbone,
        "weights": "none",
        "output_stride": 16,
        "head": "separable",
        "head_width": 8,
        "dropout": 0.0,
    }
    return ModelParams(**(values | changes))  # type: ignore[arg-type]


def gradient(module: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def same_state(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Recorder(nn.Module):
    """Keeps what it is given and hands it on as both kinds of features."""

    seen: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = images
        return images, images


class Scores(nn.Module):
    """A head that gives the scores it was made with."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, _: tuple[Tensor, Tensor]) -> Tensor:
        return self.scores


def stub_segmenter(scores: Tensor) -> tuple[Segmenter, Recorder]:
    recorder = Recorder()
    encoder = Encoder(nn.Sequential(), nn.Sequential(), 3, 3)
    segmenter = Segmenter([encoder], [Scores(scores)], scores.shape[1])
    segmenter.encoders[0] = recorder
    return segmenter, recorder


@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_have_the_size_of_the_image_and_gradients_reach_encoder_and_both_heads(backbone: str) -> None:
    segmenter = build_segmenter(model_params(backbone), num_classes=5, heads=2, seed=0)
    images = torch.randint(0, 256, (2, 3, 65, 47), dtype=torch.uint8)
    logits = segmenter(images)
    assert [tuple(head.shape) for head in logits] == [(2, 5, 65, 47)] * 2
    assert all(head.dtype == torch.float32 for head in logits)

    logits[0].square().mean().backward()
    assert gradient(segmenter.heads[0]) > 0
    assert gradient(segmenter.heads[1]) == 0
    assert gradient(segmenter.encoders[0].low) > 0
    assert gradient(segmenter.encoders[0].high) > 0
    segmenter.zero_grad()
    segmenter(images)[1].square().mean().backward()
    assert gradient(segmenter.heads[0]) == 0
    assert gradient(segmenter.heads[1]) > 0
    assert gradient(segmenter.encoders) > 0


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("head", ["dense", "separable"])
@pytest.mark.parametrize("size", [(1, 1), (33, 31), (64, 96)])
def test_any_size_goes_in_at_any_output_stride(output_stride: int, head: str, size: tuple[int, int]) -> None:
    params = model_params(output_stride=output_stride, head=head)
    segmenter = build_segmenter(params, num_classes=3, heads=1, seed=0).eval()
    with torch.no_grad():
        (logits,) = segmenter(torch.zeros(1, 3, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


def test_logits_are_float32_under_mixed_precision() -> None:
    segmenter = build_segmenter(model_params(), num_classes=3, heads=2, seed=0).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = segmenter(torch.zeros(1, 3, 32, 32))
    assert all(head.dtype == torch.float32 for head in logits)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_are_normalised_with_the_statistics_of_imagenet(dtype: torch.dtype) -> None:
    segmenter, recorder = stub_segmenter(torch.zeros(2, 3, 2, 2))
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    segmenter(images.to(dtype))
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (images[:, channel].numpy() / 255 - mean) / std
        np.testing.assert_allclose(recorder.seen[:, channel].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_scores_are_upsampled_bilinearly_between_the_centres_of_pixels() -> None:
    scores = torch.randn(1, 2, 3, 4)
    segmenter, _ = stub_segmenter(scores)
    (logits,) = segmenter(torch.zeros(1, 3, 9, 13))
    for y in range(9):
        for x in range(13):
            row = min(max((y + 0.5) * 3 / 9 - 0.5, 0), 2)
            column = min(max((x + 0.5) * 4 / 13 - 0.5, 0), 3)
            top, left = int(row), int(column)
            bottom, right = min(top + 1, 2), min(left + 1, 3)
            a, b = row - top, column - left
            expected = (1 - a) * ((1 - b) * scores[0, :, top, left] + b * scores[0, :, top, right])
            expected += a * ((1 - b) * scores[0, :, bottom, left] + b * scores[0, :, bottom, right])
            torch.testing.assert_close(logits[0, :, y, x], expected, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (build_segmenter(model_params(), 3, heads=2, seed=seed) for seed in (4, 4, 5))
    assert same_state(first, again)
    assert not same_state(first.encoders, other.encoders)
    assert not same_state(first.heads[0], other.heads[0])


def test_heads_have_one_structure_and_start_differently_in_every_convolution() -> None:
    heads = build_segmenter(model_params(), num_classes=3, heads=2, seed=0).heads
    for (name, first), (_, second) in zip(heads[0].named_modules(), heads[1].named_modules(), strict=True):
        assert type(first) is type(second)
        if isinstance(first, nn.Conv2d):
            assert first.weight.shape == second.weight.shape
            assert not torch.equal(first.weight, second.weight), name


def test_the_number_of_heads_changes_neither_the_encoder_nor_the_first_head() -> None:
    one, two = (build_segmenter(model_params(), num_classes=3, heads=heads, seed=0) for heads in (1, 2))
    assert same_state(one.encoders, two.encoders)
    assert same_state(one.heads[0], two.heads[0])
    assert (len(one.heads), len(two.heads)) == (1, 2)
    assert two.num_classes == 3


def test_building_neither_reads_nor_moves_the_global_random_state() -> None:
    torch.manual_seed(1)
    first = build_segmenter(model_params(), num_classes=3, heads=1, seed=0)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    assert same_state(first, build_segmenter(model_params(), num_classes=3, heads=1, seed=0))


def test_normalisation_is_no_part_of_the_saved_state() -> None:
    state = build_segmenter(model_params(), num_classes=3, heads=1, seed=0).state_dict()
    assert {name.partition(".")[0] for name in state} == {"encoders", "heads"}
