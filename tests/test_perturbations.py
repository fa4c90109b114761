"""CCT's perturbations do what the paper says of them."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ucc.config import PERTURBATIONS as NAMES
from ucc.perturbations import (
    PERTURBATIONS,
    VAT_NORM,
    context_masking,
    draw_objects,
    feature_drop,
    feature_noise,
    guided_cutout,
    object_masking,
    spatial_dropout,
    virtual_adversarial,
)

FEATURES = torch.rand(2, 40, 6, 8, generator=torch.Generator().manual_seed(0)) + 0.1
PROBABILITIES = functional.interpolate(
    torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(1)) * 5, scale_factor=4
).softmax(dim=1)


def decode(features: Tensor) -> Tensor:
    weights = torch.randn(4, 40, 1, 1, generator=torch.Generator().manual_seed(2))
    return functional.interpolate(functional.conv2d(features, weights), scale_factor=4)


def test_params_offer_what_there_is() -> None:
    assert tuple(PERTURBATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_the_features_and_none_the_target(name: str) -> None:
    torch.manual_seed(0)
    features, probabilities = FEATURES.clone().requires_grad_(), PROBABILITIES.clone().requires_grad_()
    perturbed = PERTURBATIONS[name](features, probabilities, decode)
    assert perturbed.shape == FEATURES.shape
    perturbed.sum().backward()
    assert features.grad is not None
    assert probabilities.grad is None
    assert not torch.equal(perturbed, FEATURES)


def test_noise_changes_features_by_at_most_thirty_percent() -> None:
    torch.manual_seed(0)
    change = (feature_noise(FEATURES, PROBABILITIES, decode) / FEATURES - 1).abs()
    assert 0.25 < change.max() <= 0.3001


def test_feature_drop_removes_the_most_active_places() -> None:
    torch.manual_seed(0)
    activity = FEATURES.mean(dim=1)
    kept = feature_drop(FEATURES, PROBABILITIES, decode).abs().sum(dim=1) > 0
    for image in range(2):
        assert kept[image].sum() > 0
        assert activity[image][kept[image]].max() < activity[image][~kept[image]].min()


def test_spatial_dropout_removes_whole_channels() -> None:
    torch.manual_seed(0)
    kept = spatial_dropout(FEATURES, PROBABILITIES, decode) > 0
    assert all(bool(channel.all()) or not bool(channel.any()) for channel in kept.flatten(0, 1))
    assert 0.3 < kept.float().mean() < 0.7


def test_objects_and_context_are_the_two_parts_of_an_image() -> None:
    parts = []
    for mask in (object_masking, context_masking):
        torch.manual_seed(3)
        parts.append(mask(FEATURES, PROBABILITIES, decode))
    assert torch.equal(parts[0] + parts[1], FEATURES)
    assert all(part.abs().max() > 0 for part in parts)


def test_objects_are_whole_predicted_classes() -> None:
    torch.manual_seed(0)
    objects = draw_objects(PROBABILITIES, (6, 8))[:, 0]
    predicted = functional.interpolate(PROBABILITIES, size=(6, 8), mode="bilinear").argmax(dim=1)
    for image in range(2):
        for category in range(4):
            assert len(objects[image][predicted[image] == category].unique()) <= 1


def test_cutout_removes_one_rectangle() -> None:
    torch.manual_seed(0)
    removed = guided_cutout(FEATURES, PROBABILITIES, decode)[:, 0] == 0
    for image in removed:
        rows, columns = image.any(dim=1), image.any(dim=0)
        assert image.sum() == rows.sum() * columns.sum()
        assert 0 < image.sum() < image.numel() / 2


def test_the_adversarial_direction_changes_the_output_more_than_a_random_one() -> None:
    torch.manual_seed(0)
    target = decode(FEATURES).softmax(dim=1)

    def divergence(change: Tensor) -> Tensor:
        return functional.kl_div(decode(FEATURES + change).log_softmax(dim=1), target, reduction="batchmean")

    change = virtual_adversarial(FEATURES, target, decode) - FEATURES
    torch.testing.assert_close(change.flatten(1).norm(dim=1), torch.full((2,), VAT_NORM))
    for _ in range(5):
        direction = torch.randn_like(change)
        direction *= VAT_NORM / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert divergence(change) > 2 * divergence(direction)
