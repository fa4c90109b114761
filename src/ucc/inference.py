"""Class probabilities of images from a trained segmenter: the whole image at once, or a sliding window."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ucc.config import EvaluateParams
from ucc.data.images import Image
from ucc.errors import UserError


@torch.inference_mode()
def predict(segmenter: nn.Module, images: Tensor) -> list[Tensor]:
    """Class probabilities of whole images.

    Args:
        segmenter: maps images to one tensor of logits (B, C, H, W) per head.
        images: RGB, uint8 or float of 0..255, shape (B, 3, H, W).

    Returns:
        For each head, float32 of shape (B, C, H, W) that sums to 1 over C.
    """
    return [logits.float().softmax(dim=1) for logits in segmenter(images)]


@torch.inference_mode()
def sliding_window(segmenter: nn.Module, images: Tensor, window: Sequence[int], stride: Sequence[int]) -> list[Tensor]:
    """Class probabilities averaged over overlapping windows, for images larger than the training crop.

    Windows start every `stride` pixels from the top left corner; the last of each axis is shifted inwards so
    that it ends with the image, and so every window is full. An image smaller than the window is continued
    by its border pixels on the right and at the bottom, and what is predicted there is cut off again.

    Args:
        segmenter: maps images to one tensor of logits (B, C, h, w) per head.
        images: RGB, uint8 or float of 0..255, shape (B, 3, H, W).
        window: height and width in pixels.
        stride: vertical and horizontal distance of neighbouring windows, at most the window.

    Returns:
        For each head, float32 of shape (B, C, H, W) that sums to 1 over C.
    """
    height, width = images.shape[-2:]
    missing = (max(0, window[0] - height), max(0, window[1] - width))
    if any(missing):
        images = pad(images.float(), (0, missing[1], 0, missing[0]), mode="replicate")
    cover = images.new_zeros(images.shape[-2:], dtype=torch.float32)
    sums: list[Tensor] = []
    for top in _starts(images.shape[-2], window[0], stride[0]):
        for left in _starts(images.shape[-1], window[1], stride[1]):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            heads = predict(segmenter, images[place])
            if not sums:
                sums = [p.new_zeros((*p.shape[:2], *images.shape[-2:])) for p in heads]
            for total, probabilities in zip(sums, heads, strict=True):
                total[place] += probabilities
            cover[place] += 1
    return [(total / cover)[..., :height, :width] for total in sums]


def predict_image(segmenter: nn.Module, image: Image, params: EvaluateParams, device: torch.device) -> list[Tensor]:
    """Class probabilities of one image, whole or by sliding window as `params` says.

    Args:
        segmenter: on `device`; maps images to one tensor of logits (B, C, H, W) per head.
        image: RGB uint8 of shape (H, W, 3).

    Returns:
        For each head, float32 of shape (1, C, H, W) on `device`.
    """
    images = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).to(device)
    if params.sliding_window:
        return sliding_window(segmenter, images, params.window, params.stride)
    return predict(segmenter, images)


def uncertainty(probabilities: Tensor) -> Tensor:
    """1 - max_c p_c per pixel: (B, C, H, W) -> (B, H, W), from 0 (certain) to 1 - 1/C (all classes alike)."""
    return 1 - probabilities.amax(dim=1)


def choose_device(accelerator: str) -> torch.device:
    """The device that `train.accelerator` (auto, cpu, cuda) stands for on this machine.

    Raises:
        UserError: if cuda is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise UserError("train.accelerator = cuda, but PyTorch finds no CUDA device here; use auto or cpu.")
    return torch.device("cuda" if available and accelerator != "cpu" else "cpu")


def _starts(length: int, window: int, stride: int) -> list[int]:
    last = length - window
    return [*range(0, last, stride), last]
