"""A segmenter that is exported in a second, and images for it."""

import numpy as np
import torch
from torch import Tensor, nn

from ucc.config import ModelParams
from ucc.models import Segmenter
from ucc.models.store import SegmenterFacts

CLASSES = ("road", "building", "sky", "car", "Fußgänger")
COLORS = ((128, 64, 128), (70, 70, 70), (70, 130, 180), (0, 0, 142), (220, 20, 60))
MODEL = ModelParams(backbone="resnet18", weights="none", output_stride=16, head="separable", head_width=16, dropout=0.1)
FACTS = SegmenterFacts("streets", CLASSES, COLORS, MODEL, 300, "0123abcd", "89abcdef", {"train": {"lr": 0.02}})
METRICS = {"miou": 50.5, "head_1": {"miou": 50.5}}
# Multiples of the stride and not, smaller than the stride, one pixel; alone and in a batch.
SHAPES = ((1, 64, 96), (2, 65, 97), (1, 50, 33), (3, 31, 47), (1, 7, 5), (1, 1, 1))


class TinyEncoder(nn.Module):
    """Features at strides 4 and 8, cheap to export."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1))
        self.high = nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(images)
        return low, self.high(low)


class TinyHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(6, len(CLASSES), 1))

    def forward(self, features: tuple[Tensor, Tensor]) -> Tensor:
        low, high = features
        return self.classifier(low) + high.mean(dim=(1, 2, 3), keepdim=True)


def tiny_segmenter(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter([TinyEncoder()], [TinyHead(), TinyHead()], len(CLASSES))


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, so that neighbouring pixels resemble each other as in photographs."""
    noise = torch.rand(shape[0], 3, shape[1] // 8 + 2, shape[2] // 8 + 2, generator=torch.manual_seed(seed))
    smooth = nn.functional.interpolate(noise, size=shape[1:], mode="bicubic").clamp(0, 1)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def make_decided(segmenter: Segmenter) -> None:
    """Give random weights what training gives: BatchNorm statistics of the data, logits far from alike."""
    images = torch.from_numpy(random_images(4, 96, 96, seed=1)).permute(0, 3, 1, 2)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        segmenter.train()(images)
        scale = 3 / segmenter.eval()(images)[0].std()
        for parameter in segmenter.heads[0].classifier.parameters():
            parameter.mul_(scale)
