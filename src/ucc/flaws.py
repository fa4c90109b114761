"""The flaw detector of GCT and what it learns (Ke, Qiu, Li, Yan, Lau, ECCV 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from ucc.losses import IGNORE

WIDTHS = (64, 128, 256, 512)
# The error map is blurred by kernels of an eighth and, after dilation, a quarter of the image's height.
BLUR_DIVISORS = (8, 4)


class FlawDetector(nn.Module):
    """Fully convolutional: an image and a prediction for it to the probability that the prediction is wrong.

    Four convolutions of stride 2 and an output convolution, without normalisation across images, so that the
    judgement of one image does not depend on the others.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3 + num_classes
        for width in WIDTHS:
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:
        """RGB of 0..255 (B, 3, H, W) and class probabilities (B, C, H, W) to flaw probabilities (B, H, W)."""
        inputs = torch.cat([images.float() / 127.5 - 1, probabilities], dim=1)
        scores = functional.interpolate(
            self.layers(inputs), size=images.shape[2:], mode="bilinear", align_corners=False
        )
        return torch.sigmoid(scores.float()).squeeze(1)


@torch.no_grad()
def flaw_target(probabilities: Tensor, target: Tensor) -> Tensor:
    """What the detector learns on labelled images: the smoothed error map, in [0, 1] (B, H, W).

    The distance between probabilities (B, C, H, W) and the one-hot target (B, H, W), summed over classes, is blurred,
    dilated, blurred again and divided by its maximum in each image. Pixels that are not labelled count as right.
    """
    labeled = (target != IGNORE).unsqueeze(1)
    one_hot = torch.zeros_like(probabilities).scatter_(1, target.unsqueeze(1).where(labeled, 0), 1.0)
    error = ((one_hot - probabilities).abs() * labeled).sum(dim=1, keepdim=True)
    fine, coarse = (_kernel(target.shape[1], target.shape[2], divisor) for divisor in BLUR_DIVISORS)
    smooth = gaussian_blur(error, fine)
    smooth = gaussian_blur(functional.max_pool2d(smooth, 3, stride=1, padding=1), coarse)
    flaws: Tensor = smooth / smooth.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    return flaws.squeeze(1)


def _kernel(height: int, width: int, divisor: int) -> list[int]:
    """Width and height of the blur: odd, a part of the image's height, and no more than either side can reflect."""
    return [min(height // divisor // 2, side - 1) * 2 + 1 for side in (width, height)]
