"""The DeepLabv3+ head (Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ucc.models.encoder import Features

# Atrous rates of ASPP at output stride 16; they scale with the resolution of the features.
RATES_AT_16 = (6, 12, 18)
# Low-level features are squeezed to this width so that they do not outweigh the semantic ones (section 4.1 there).
LOW_LEVEL_WIDTH = 48


def conv_block(inputs: int, outputs: int, kernel: int, dilation: int = 1, separable: bool = False) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU; the convolution optionally split into a depthwise and a pointwise one."""
    padding = dilation * (kernel - 1) // 2
    if not separable or kernel == 1:
        convolutions = [nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)]
    else:
        convolutions = [
            nn.Conv2d(inputs, inputs, kernel, padding=padding, dilation=dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        ]
    return nn.Sequential(*convolutions, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three atrous 3x3 and image-level features, concatenated and projected."""

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...], separable: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_block(inputs, width, 1), *(conv_block(inputs, width, 3, rate, separable) for rate in rates)]
        )
        self.pool = conv_block(inputs, width, 1)
        self.project = conv_block(width * (len(rates) + 2), width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, width, h, w)."""
        image_level = self.pool(features.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        projected: Tensor = self.project(torch.cat([*(branch(features) for branch in self.branches), image_level], 1))
        return projected


class DeepLabV3PlusHead(nn.Module):
    """Features of an encoder to class scores at stride 4."""

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        num_classes: int,
        width: int,
        output_stride: int,
        separable: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        rates = tuple(rate * 16 // output_stride for rate in RATES_AT_16)
        self.aspp = ASPP(high_channels, width, rates, separable)
        self.low_level = conv_block(low_channels, LOW_LEVEL_WIDTH, 1)
        self.decoder = nn.Sequential(
            conv_block(width + LOW_LEVEL_WIDTH, width, 3, separable=separable),
            conv_block(width, width, 3, separable=separable),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(width, num_classes, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Features) -> Tensor:
        """Features (B, low, H/4, W/4) and (B, high, H/s, W/s) to scores (B, C, H/4, W/4)."""
        low, high = features
        context = functional.interpolate(self.aspp(high), size=low.shape[2:], mode="bilinear", align_corners=False)
        scores: Tensor = self.classifier(self.decoder(torch.cat([context, self.low_level(low)], dim=1)))
        return scores
