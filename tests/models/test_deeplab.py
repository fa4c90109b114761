"""The DeepLabv3+ head."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ucc.models.deeplab import ASPP, DeepLabV3PlusHead, conv_block


def head(output_stride: int = 16, separable: bool = False, dropout: float = 0.0) -> DeepLabV3PlusHead:
    torch.manual_seed(0)
    return DeepLabV3PlusHead(24, 40, 5, 16, output_stride, separable=separable, dropout=dropout)


def features(batch: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(batch, 24, 17, 12), torch.randn(batch, 40, 5, 3)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_scores_have_the_resolution_of_the_low_level_features(output_stride: int, separable: bool) -> None:
    assert head(output_stride, separable)(features()).shape == (2, 5, 17, 12)


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
@pytest.mark.parametrize("separable", [False, True])
def test_atrous_rates_scale_with_the_resolution(output_stride: int, rates: list[int], separable: bool) -> None:
    convolutions = [m for m in head(output_stride, separable).aspp.modules() if isinstance(m, nn.Conv2d)]
    atrous = [m for m in convolutions if m.kernel_size == (3, 3)]
    assert [m.dilation for m in atrous] == [(rate, rate) for rate in rates]
    assert [m.padding for m in atrous] == [(rate, rate) for rate in rates]


def test_aspp_joins_five_branches_as_published() -> None:
    torch.manual_seed(0)
    aspp = ASPP(40, 16, (2, 3, 4), separable=False).eval()
    inputs = torch.randn(2, 40, 9, 7)
    scale = (1 + 1e-5) ** -0.5  # BatchNorm in evaluation mode with statistics 0 and 1

    def activated(block: nn.Module, values: Tensor, rate: int = 1) -> Tensor:
        weight = next(block.parameters())
        padding = rate if weight.shape[2] == 3 else 0
        return functional.relu(functional.conv2d(values, weight, padding=padding, dilation=rate) * scale)

    pooled = torch.stack([image.flatten(1).sum(1) / (9 * 7) for image in inputs]).view(2, 40, 1, 1)
    branches = [activated(aspp.branches[0], inputs)]
    branches += [activated(branch, inputs, rate) for branch, rate in zip(aspp.branches[1:], (2, 3, 4), strict=True)]
    branches += [activated(aspp.pool, pooled).repeat(1, 1, 9, 7)]
    expected = activated(aspp.project, torch.cat(branches, dim=1))
    with torch.no_grad():
        torch.testing.assert_close(aspp(inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_separable_block_is_a_depthwise_and_a_pointwise_convolution() -> None:
    first, second = (m for m in conv_block(8, 12, 3, dilation=2, separable=True) if isinstance(m, nn.Conv2d))
    assert (first.groups, first.out_channels, first.kernel_size) == (8, 8, (3, 3))
    assert (second.groups, second.out_channels, second.kernel_size) == (1, 12, (1, 1))


def test_the_separable_head_is_lighter() -> None:
    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert size(head(separable=True)) < size(head(separable=False)) / 2


def test_low_level_features_are_squeezed_to_48_channels() -> None:
    low, _ = features()
    assert head().low_level(low).shape[1] == 48


def test_scores_depend_on_both_kinds_of_features() -> None:
    module, (low, high) = head().eval(), features()
    with torch.no_grad():
        scores = module((low, high))
        assert not torch.allclose(scores, module((low + 1, high)))
        assert not torch.allclose(scores, module((low, high + 1)))


def test_dropout_acts_in_training_alone() -> None:
    module, inputs = head(dropout=0.5), features()
    with torch.no_grad():
        assert not torch.equal(module(inputs), module(inputs))
        module.eval()
        assert torch.equal(module(inputs), module(inputs))


def test_images_of_a_batch_do_not_influence_each_other_in_evaluation_mode() -> None:
    module, (low, high) = head().eval(), features()
    with torch.no_grad():
        torch.testing.assert_close(module((low, high))[:1], module((low[:1], high[:1])))
