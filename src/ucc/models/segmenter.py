"""Encoders and heads that make up a segmenter, from raw RGB to class scores."""

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
    """`f` and `g_1 ... g_M` of the paper: one encoder that all heads share, or one for each head (table 7).

    Normalisation is inside, so training and deployment cannot differ in it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoders: Sequence[Encoder], heads: Sequence[nn.Module], num_classes: int) -> None:
        super().__init__()
        if len(encoders) not in (1, len(heads)):
            raise ValueError(f"{len(heads)} heads need 1 or {len(heads)} encoders, not {len(encoders)}")
        self.encoders = nn.ModuleList(encoders)
        self.heads = nn.ModuleList(heads)
        self.num_classes = num_classes
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB images, uint8 or float of 0..255, (B, 3, H, W) of any size, to logits (B, C, H, W), one per head."""
        return self.forward_rows(images, [slice(None)] * len(self.heads))

    def forward_rows(self, images: Tensor, rows: Sequence[list[int] | slice]) -> list[Tensor]:
        """Logits (len(rows[m]), C, H, W) of each head m on the images that `rows[m]` names.

        A shared encoder sees all images in one pass, an encoder of its own only those of its head.
        """
        size = (images.shape[2], images.shape[3])
        if len(self.encoders) == 1:
            low, high = self.encode(images)
            return [self.decode(head, (low[chosen], high[chosen]), size) for head, chosen in enumerate(rows)]
        return [self.decode(head, self.encode(images[chosen], head), size) for head, chosen in enumerate(rows)]

    def encode(self, images: Tensor, head: int = 0) -> Features:
        """Normalise RGB images (B, 3, H, W) of 0..255 and compute the features that `head` works on."""
        normalized = (images.float() - self.mean) / self.std
        encoder = self.encoders[head % len(self.encoders)]
        features: Features = encoder(normalized.contiguous(memory_format=torch.channels_last))
        return features

    def decode(self, head: int, features: Features, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, *size) of one head, upsampled bilinearly from stride 4, in float32."""
        return upsample(self.heads[head](features), size)


def upsample(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores of a head (B, C, H/4, W/4) to logits (B, C, *size) in float32, bilinearly."""
    # Softmax and cross-entropy need float32; half the digits of bfloat16 would make confidences tie.
    return functional.interpolate(scores.float(), size=size, mode="bilinear", align_corners=False)


def build_segmenter(
    params: ModelParams,
    num_classes: int,
    heads: int,
    seed: int,
    shared_encoder: bool = True,
    pretrained: bool = True,
) -> Segmenter:
    """Build a segmenter; each encoder and each head is initialised from a random stream of its own.

    Encoders that start from given weights start equal, and only their heads differ, as in CPS.
    `pretrained=False` leaves `params.weights` aside, for a segmenter whose state is loaded afterwards.

    Raises:
        UserError: if the start weights cannot be had or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        encoders = [_build_encoder(params, seed, index, pretrained) for index in range(1 if shared_encoder else heads)]
        built = [build_head(params, encoders[0], num_classes, seed, index) for index in range(heads)]
    return Segmenter(encoders, built, num_classes).to(memory_format=torch.channels_last)


def build_head(params: ModelParams, encoder: Encoder, num_classes: int, seed: int, index: int) -> DeepLabV3PlusHead:
    """The `index`-th head of a seed for the features of `encoder`; seeds torch's global generator and draws from it."""
    torch.manual_seed(derive_seed(seed, "head", index))
    return DeepLabV3PlusHead(
        encoder.low_channels,
        encoder.high_channels,
        num_classes,
        params.head_width,
        params.output_stride,
        separable=params.head == "separable",
        dropout=params.dropout,
    )


def _build_encoder(params: ModelParams, seed: int, index: int, pretrained: bool) -> Encoder:
    # The first encoder's stream has no number, so that a segmenter with a shared one starts as it always did.
    torch.manual_seed(derive_seed(seed, "encoder", *([index] if index else [])))
    network = classifier_network(params.backbone)
    if pretrained:
        load_weights(network, params.backbone, params.weights)
    return cut_encoder(params.backbone, network, params.output_stride)
