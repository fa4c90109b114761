"""One encoder with one or several heads, from raw RGB to class scores."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ucc.config import ModelParams
from ucc.models.deeplab import DeepLabV3PlusHead
from ucc.models.encoder import Encoder, Features, classifier_network, cut_encoder
from ucc.models.weights import load_weights
from ucc.seeding import seed as derive_seed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Segmenter(nn.Module):
    """`f` and `g_1 ... g_M` of the paper. Normalisation is inside, so training and deployment cannot differ in it."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, heads: Sequence[nn.Module], num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.num_classes = num_classes
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB images, uint8 or float of 0..255, (B, 3, H, W) of any size, to logits (B, C, H, W), one per head."""
        features = self.encode(images)
        size = (images.shape[2], images.shape[3])
        return [self.decode(head, features, size) for head in range(len(self.heads))]

    def encode(self, images: Tensor) -> Features:
        """Normalise RGB images (B, 3, H, W) of 0..255 and compute the encoder's features."""
        normalized = (images.float() - self.mean) / self.std
        features: Features = self.encoder(normalized.contiguous(memory_format=torch.channels_last))
        return features

    def decode(self, head: int, features: Features, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, *size) of one head, upsampled bilinearly from stride 4, in float32."""
        scores = self.heads[head](features)
        # Softmax and cross-entropy need float32; half the digits of bfloat16 would make confidences tie.
        return functional.interpolate(scores.float(), size=size, mode="bilinear", align_corners=False)


def build_segmenter(params: ModelParams, num_classes: int, heads: int, seed: int, pretrained: bool = True) -> Segmenter:
    """Build a segmenter; encoder and each head are initialised from random streams of their own.

    `pretrained=False` leaves `params.weights` aside, for a segmenter whose state is loaded afterwards.

    Raises:
        UserError: if the start weights cannot be had or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "encoder"))
        network = classifier_network(params.backbone)
        if pretrained:
            load_weights(network, params.backbone, params.weights)
        encoder = cut_encoder(params.backbone, network, params.output_stride)
        built = []
        for index in range(heads):
            torch.manual_seed(derive_seed(seed, "head", index))
            built.append(
                DeepLabV3PlusHead(
                    encoder.low_channels,
                    encoder.high_channels,
                    num_classes,
                    params.head_width,
                    params.output_stride,
                    separable=params.head == "separable",
                    dropout=params.dropout,
                )
            )
    return Segmenter(encoder, built, num_classes).to(memory_format=torch.channels_last)
