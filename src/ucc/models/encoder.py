"""Encoders: torchvision's classification networks without their classifier, dilated to an output stride."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

Features = tuple[Tensor, Tensor]


class Encoder(nn.Module):
    """A network cut in two: up to stride 4 (`low`) and from there to the output stride (`high`)."""

    def __init__(self, low: nn.Sequential, high: nn.Sequential, low_channels: int, high_channels: int) -> None:
        super().__init__()
        self.low = low
        self.high = high
        self.low_channels = low_channels
        self.high_channels = high_channels

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) to features (B, low, H/4, W/4) and (B, high, H/s, W/s), rounded up."""
        low = self.low(images)
        return low, self.high(low)


def classifier_network(backbone: str) -> nn.Module:
    """torchvision's classification network of that name, randomly initialised from torch's global generator."""
    network: nn.Module = torchvision_models.get_model(backbone, weights=None)
    return network


def cut_encoder(backbone: str, network: nn.Module, output_stride: int) -> Encoder:
    """Turn a classification network of torchvision into an `Encoder` with output stride 8, 16 or 32.

    The 1x1 convolution that widens MobileNets' features for the classifier is left out with the classifier.
    """
    stages = _resnet_stages(network) if backbone.startswith("resnet") else _mobilenet_stages(network)
    _dilate(stages, output_stride)
    # torchvision's MobileNetV3 averages BatchNorm over 100 steps, too many for a few hundred steps of training.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    low_count = 2 if backbone.startswith("resnet") else 4
    low, high = nn.Sequential(*stages[:low_count]), nn.Sequential(*stages[low_count:])
    return Encoder(low, high, *_channels(low, high))


def _resnet_stages(network: nn.Module) -> list[nn.Module]:
    parts = dict(network.named_children())
    stem = nn.Sequential(parts["conv1"], parts["bn1"], parts["relu"], parts["maxpool"])
    return [stem, parts["layer1"], parts["layer2"], parts["layer3"], parts["layer4"]]


def _mobilenet_stages(network: nn.Module) -> list[nn.Module]:
    features = dict(network.named_children())["features"]
    return list(features.children())[:-1]


def _dilate(stages: Iterable[nn.Module], output_stride: int) -> None:
    """Replace strides beyond `output_stride` by dilation of the convolutions that follow them."""
    stride, dilation = 1, 1
    for stage in stages:
        reductions = _reductions(stage)
        if reductions == 1 or stride * reductions <= output_stride:
            stride *= reductions
            _set_dilation(stage, dilation, dilation)
        else:
            _set_dilation(stage, dilation, dilation * reductions)
            dilation *= reductions


def _reductions(stage: nn.Module) -> int:
    """The factor by which a stage shrinks its input; its shortcut's stride runs beside the main path's."""
    factor = 1
    for name, module in stage.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and "downsample" not in name:
            factor *= module.stride if isinstance(module.stride, int) else module.stride[0]
    return factor


def _set_dilation(stage: nn.Module, before: int, after: int) -> None:
    """Dilate by `before` up to and including the strided convolution, by `after` behind it."""
    if after == 1:
        return
    dilation = before
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        strided = module.stride[0] > 1
        if module.kernel_size[0] > 1:
            own = before if strided else dilation
            module.dilation = (own, own)
            module.padding = tuple(own * (k - 1) // 2 for k in module.kernel_size)
        if strided and after != before:
            module.stride = (1, 1)
            dilation = after


def _channels(low: nn.Module, high: nn.Module) -> tuple[int, int]:
    """Count by trying: in evaluation mode, so that running statistics stay as they are."""
    low.eval()
    high.eval()
    with torch.no_grad():
        features = low(torch.zeros(1, 3, 64, 64))
        counts = features.shape[1], high(features).shape[1]
    low.train()
    high.train()
    return counts
