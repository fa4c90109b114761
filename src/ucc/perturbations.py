"""The feature perturbations of CCT (Ouali, Hudelot, Tami, CVPR 2020).

Each takes features z (B, C, h, w), the main decoder's class probabilities (B, K, H, W), and the auxiliary decoder
as a function from features to logits; it returns perturbed features, with gradient to z. All draws come from
torch's global generator, which the trainer seeds by the step and the process: with another number of devices they
are others, but for those that are one for the whole batch.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ucc.distributed import from_first

Decode = Callable[[Tensor], Tensor]
Perturbation = Callable[[Tensor, Tensor, Decode], Tensor]

# Magnitudes: range of F-Noise, of F-Drop's threshold, rate of the spatial dropout.
NOISE_RANGE = 0.3
DROP_THRESHOLD = (0.6, 0.9)
DROPOUT_RATE = 0.5
CUTOUT_SHARE = 0.4
# I-VAT: step of the finite difference, relative to the features' scale, and norm of the perturbation.
VAT_STEP = 1e-3
VAT_NORM = 2.0


def feature_noise(features: Tensor, _probabilities: Tensor, _decode: Decode) -> Tensor:
    """F-Noise: z + z * N with N uniform in [-0.3, 0.3], the same for all images of the batch."""
    noise = from_first(torch.empty_like(features[:1]).uniform_(-NOISE_RANGE, NOISE_RANGE))
    return features + features * noise


def feature_drop(features: Tensor, _probabilities: Tensor, _decode: Decode) -> Tensor:
    """F-Drop: remove the most active regions, where the mean over channels exceeds a drawn share of its maximum."""
    activity = features.detach().mean(dim=1, keepdim=True)
    lowest, highest = DROP_THRESHOLD
    threshold = from_first(torch.empty(1, device=features.device).uniform_(lowest, highest))
    return features * (activity < activity.amax(dim=(2, 3), keepdim=True) * threshold)


def spatial_dropout(features: Tensor, _probabilities: Tensor, _decode: Decode) -> Tensor:
    """DropOut: whole channels (Tompson et al., CVPR 2015)."""
    return functional.dropout2d(features, DROPOUT_RATE, training=True)


def object_masking(features: Tensor, probabilities: Tensor, _decode: Decode) -> Tensor:
    """Obj-Msk: remove the objects. Which predicted classes are objects is drawn, see `draw_objects`."""
    return features * ~draw_objects(probabilities, features.shape[2:])


def context_masking(features: Tensor, probabilities: Tensor, _decode: Decode) -> Tensor:
    """Con-Msk: remove everything but the objects."""
    return features * draw_objects(probabilities, features.shape[2:])


def guided_cutout(features: Tensor, probabilities: Tensor, _decode: Decode) -> Tensor:
    """G-Cutout: remove a random rectangle within the objects' bounding box."""
    objects = draw_objects(probabilities, features.shape[2:])
    kept = torch.ones_like(objects)
    for image, shown in enumerate(objects[:, 0]):
        if not shown.any():
            continue
        spans = []
        for axis in (1, 0):
            places = shown.any(dim=axis).nonzero().flatten()
            first, last = int(places[0]), int(places[-1])
            length = max(1, round(CUTOUT_SHARE * (last - first + 1)))
            start = int(torch.randint(first, last - length + 2, ()))
            spans.append(slice(start, start + length))
        kept[image, 0, spans[0], spans[1]] = False
    return features * kept


def virtual_adversarial(features: Tensor, probabilities: Tensor, decode: Decode) -> Tensor:
    """I-VAT: the small perturbation that changes the auxiliary decoder's output most, by one power iteration.

    (Miyato et al., TPAMI 2018.) It is found on detached features and added to z.
    """
    detached = features.detach()
    direction = _unit(torch.randn_like(detached)) * _norm(detached) * VAT_STEP
    with torch.enable_grad():
        direction.requires_grad_(True)
        moved = functional.log_softmax(decode(detached + direction), dim=1)
        divergence = functional.kl_div(moved, probabilities.detach(), reduction="batchmean")
        (gradient,) = torch.autograd.grad(divergence, direction)
    return features + VAT_NORM * _unit(gradient.detach())


PERTURBATIONS: Mapping[str, Perturbation] = {
    "feature_noise": feature_noise,
    "feature_drop": feature_drop,
    "spatial_dropout": spatial_dropout,
    "object_masking": object_masking,
    "context_masking": context_masking,
    "guided_cutout": guided_cutout,
    "virtual_adversarial": virtual_adversarial,
}


def draw_objects(probabilities: Tensor, size: tuple[int, ...]) -> Tensor:
    """bool (B, 1, *size): where the main decoder sees one of the classes drawn as objects, each with chance 1/2.

    The paper takes every class but the background for objects. Street scenes have no background, and a mask of
    everything would leave nothing to predict from, so here the classes are drawn for each image.
    """
    resized = functional.interpolate(probabilities.detach(), size=size, mode="bilinear", align_corners=False)
    predicted = resized.argmax(dim=1)
    is_object = torch.rand(probabilities.shape[:2], device=probabilities.device) < 0.5
    return is_object.gather(1, predicted.flatten(1)).view_as(predicted).unsqueeze(1)


def _norm(values: Tensor) -> Tensor:
    return values.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def _unit(values: Tensor) -> Tensor:
    return values / _norm(values).clamp(min=1e-12)
