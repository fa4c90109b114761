"""Encoders: shapes, and dilation that changes the resolution of the features but not their values."""

import math

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops import SqueezeExcitation

from ucc.config import BACKBONES
from ucc.models.encoder import Encoder, classifier_network, cut_encoder

# Channels at stride 4 and at the end, from the papers' tables.
CHANNELS = {
    "resnet18": (64, 512),
    "resnet34": (64, 512),
    "resnet50": (256, 2048),
    "resnet101": (256, 2048),
    "mobilenet_v2": (24, 320),
    "mobilenet_v3_large": (24, 160),
}
# Once is enough for networks that differ from another one in the number of blocks alone.
CASES = [
    (name, stride)
    for name in BACKBONES
    for stride in (8, 16, 32)
    if name not in ("resnet34", "resnet101") or stride == 16
]


def varied_network(backbone: str) -> nn.Module:
    """A network whose BatchNorm statistics are not those of the initialisation."""
    torch.manual_seed(0)
    network = classifier_network(backbone)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.2, 0.4)
    return network.eval()


def without_squeeze(encoder: Encoder) -> Encoder:
    """Drop MobileNetV3's squeeze-and-excitation: a mean over all positions does depend on the resolution."""
    for parent in list(encoder.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SqueezeExcitation):
                setattr(parent, name, nn.Identity())
    return encoder


@pytest.mark.parametrize(("backbone", "output_stride"), CASES)
def test_features_have_the_promised_shapes_at_any_size(backbone: str, output_stride: int) -> None:
    encoder = cut_encoder(backbone, classifier_network(backbone), output_stride).eval()
    with torch.no_grad():
        low, high = encoder(torch.zeros(1, 3, 65, 47))
    assert (encoder.low_channels, encoder.high_channels) == CHANNELS[backbone]
    assert low.shape == (1, CHANNELS[backbone][0], math.ceil(65 / 4), math.ceil(47 / 4))
    s = output_stride
    assert high.shape == (1, CHANNELS[backbone][1], math.ceil(65 / s), math.ceil(47 / s))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_features_contain_those_of_the_undilated_network(backbone: str, output_stride: int) -> None:
    network = varied_network(backbone)
    images = torch.rand(1, 3, 65, 48, dtype=torch.float64)
    plain = without_squeeze(cut_encoder(backbone, network, 32)).double().eval()
    with torch.no_grad():
        low, high = plain(images)
        dilated = without_squeeze(cut_encoder(backbone, varied_network(backbone), output_stride)).double().eval()
        dilated_low, dilated_high = dilated(images)
    every = 32 // output_stride
    torch.testing.assert_close(dilated_low, low)
    torch.testing.assert_close(dilated_high[:, :, ::every, ::every], high)
    assert high.std() > 0


@pytest.mark.parametrize(("output_stride", "replace"), [(16, (False, False, True)), (8, (False, True, True))])
def test_the_dilated_resnet50_is_that_of_torchvision(output_stride: int, replace: tuple[bool, bool, bool]) -> None:
    network = varied_network("resnet50")
    reference = models.resnet50(weights=None, replace_stride_with_dilation=list(replace))
    reference.load_state_dict(network.state_dict())
    reference.eval()
    images = torch.rand(1, 3, 65, 47)
    encoder = cut_encoder("resnet50", network, output_stride).eval()
    with torch.no_grad():
        stem = reference.maxpool(reference.relu(reference.bn1(reference.conv1(images))))
        expected_low = reference.layer1(stem)
        expected_high = reference.layer4(reference.layer3(reference.layer2(expected_low)))
        low, high = encoder(images)
    torch.testing.assert_close(low, expected_low)
    torch.testing.assert_close(high, expected_high)


def test_cutting_leaves_running_statistics_alone_and_hands_over_a_network_in_training_mode() -> None:
    network = varied_network("mobilenet_v3_large")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    encoder = cut_encoder("mobilenet_v3_large", network, 16)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for part in (encoder.low, encoder.high) for module in part.modules())


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "mobilenet_v3_large"])
def test_running_statistics_average_over_about_ten_steps_in_every_backbone(backbone: str) -> None:
    encoder = cut_encoder(backbone, classifier_network(backbone), 16)
    assert {module.momentum for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}


def test_every_parameter_of_the_encoder_takes_part() -> None:
    encoder = cut_encoder("mobilenet_v2", classifier_network("mobilenet_v2"), 16).train()
    _, high = encoder(torch.rand(2, 3, 32, 32))
    high.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
