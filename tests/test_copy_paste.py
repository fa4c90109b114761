"""DCSCP against slow NumPy written from Eqs. 5-6, and what its draws promise (decisions K-N)."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ucc.config import Params
from ucc.copy_paste import ClassConfidence, Paste, PasteDraws, class_presence, draw_paste
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.losses import IGNORE
from ucc.methods import build_method

CLASSES = 4
LARGEST_FLOAT32_BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))
LARGEST_FLOAT64_BELOW_1 = float(np.nextafter(1.0, 0.0))


def random_maps(seed: int, images: int = 3, classes: int = CLASSES, ignored: float = 0.2) -> Tensor:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (images, 4, 5))
    labels[rng.random(labels.shape) < ignored] = IGNORE
    return torch.from_numpy(labels)


def random_probabilities(seed: int, images: int = 3) -> Tensor:
    scores = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (images, CLASSES, 4, 5)))
    return scores.softmax(dim=1).float()


def slow_update(sigma: list[float], decay: float, heads: list[Tensor], target: Tensor) -> list[float]:
    """Eq. 6 with decision M: per class, the mean of p(true class) over its pixels and over the heads."""
    updated = list(sigma)
    for category in range(len(sigma)):
        seen = []
        for head in heads:
            for b, y, x in np.ndindex(*target.shape):
                if int(target[b, y, x]) == category:
                    seen.append(float(head[b, category, y, x]))
        if seen:
            updated[category] = decay * sigma[category] + (1 - decay) * sum(seen) / len(seen)
    return updated


def slow_category_probabilities(sigma: list[float], target: Tensor) -> list[list[float]]:
    """Decision N: softmax of sqrt(1 - sigma_c) over the classes that occur in a label map."""
    rows = []
    for label_map in target.tolist():
        present = {label for row in label_map for label in row} - {IGNORE}
        powers = [math.exp(math.sqrt(1 - s)) if c in present else 0.0 for c, s in enumerate(sigma)]
        rows.append([p / sum(powers) if present else 0.0 for p in powers])
    return rows


def draws(happens: list[float], donor: list[float], category: list[float]) -> PasteDraws:
    return PasteDraws(*(torch.tensor(numbers, dtype=torch.float64) for numbers in (happens, donor, category)))


def uniform_categories(target: Tensor) -> Tensor:
    return class_presence(target, CLASSES).float()


# Class-wise confidence


def test_confidence_starts_uniform() -> None:
    torch.testing.assert_close(ClassConfidence(5, 0.9).value, torch.full((5,), 0.2))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999, 1.0])
def test_confidence_is_the_moving_average_of_the_true_class_probability(heads: int, decay: float) -> None:
    confidence = ClassConfidence(CLASSES, decay)
    expected = [1 / CLASSES] * CLASSES
    for step in range(3):
        target = random_maps(step)
        probabilities = [random_probabilities(10 * step + head) for head in range(heads)]
        confidence.update(probabilities, target)
        expected = slow_update(expected, decay, probabilities, target)
    np.testing.assert_allclose(confidence.value.numpy(), expected, rtol=1e-5)


def test_a_class_absent_from_the_batch_keeps_its_confidence() -> None:
    confidence = ClassConfidence(CLASSES, 0.5)
    confidence.value.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    confidence.update([random_probabilities(0)], random_maps(0, classes=2))
    assert confidence.value[2:].tolist() == pytest.approx([0.3, 0.4])
    assert confidence.value[0].item() != pytest.approx(0.1)


def test_a_batch_without_labels_changes_no_confidence() -> None:
    confidence = ClassConfidence(CLASSES, 0.5)
    confidence.update([random_probabilities(0)], torch.full((3, 4, 5), IGNORE))
    torch.testing.assert_close(confidence.value, torch.full((CLASSES,), 1 / CLASSES))


def test_ignored_pixels_do_not_count_for_any_class() -> None:
    target, probabilities = random_maps(1), random_probabilities(1)
    changed = torch.where((target == IGNORE).unsqueeze(1), torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1, 1), probabilities)
    first, second = ClassConfidence(CLASSES, 0.5), ClassConfidence(CLASSES, 0.5)
    first.update([probabilities], target)
    second.update([changed], target)
    assert torch.equal(first.value, second.value)


def test_both_heads_count_the_same() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    sure, unsure = torch.zeros(1, CLASSES, 2, 2), torch.zeros(1, CLASSES, 2, 2)
    sure[:, 0], unsure[:, 0] = 0.9, 0.5
    confidence = ClassConfidence(CLASSES, 0.0)
    confidence.update([sure, unsure], target)
    assert confidence.value[0].item() == pytest.approx(0.7)


def test_confidence_stays_exact_over_millions_of_pixels() -> None:
    # Summed up in float32, 0.9 over five million pixels came out as 0.97.
    target = torch.zeros(1, 1600, 2000, dtype=torch.long)
    confidence = ClassConfidence(2, 0.0)
    confidence.update([torch.full((1, 2, 1600, 2000), 0.9)], target)
    assert confidence.value[0].item() == pytest.approx(0.9, rel=1e-5)


def test_confidence_survives_a_checkpoint() -> None:
    confidence, restored = ClassConfidence(CLASSES, 0.5), ClassConfidence(CLASSES, 0.5)
    confidence.update([random_probabilities(0)], random_maps(0))
    restored.load_state_dict(confidence.state_dict())
    assert torch.equal(restored.value, confidence.value)


# Category probabilities


@pytest.mark.parametrize("seed", range(3))
def test_category_probabilities_are_a_softmax_over_the_classes_present(seed: int) -> None:
    confidence = ClassConfidence(CLASSES, 0.5)
    sigma = np.random.default_rng(seed).random(CLASSES)
    confidence.value.copy_(torch.from_numpy(sigma))
    target = random_maps(seed)
    target[0][target[0] == 2] = 1
    target[1] = IGNORE
    result = confidence.category_probabilities(target)
    np.testing.assert_allclose(result.numpy(), slow_category_probabilities(sigma.tolist(), target), rtol=1e-5)
    assert result[0, 2] == 0
    assert (result[1] == 0).all()


def test_the_class_that_the_model_is_less_sure_of_is_the_likelier_one() -> None:
    confidence = ClassConfidence(2, 0.5)
    confidence.value.copy_(torch.tensor([0.95, 0.15]))
    (row,) = confidence.category_probabilities(torch.tensor([[[0, 1]]]))
    ratio = math.exp(math.sqrt(0.85) - math.sqrt(0.05))
    assert (row[1] / row[0]).item() == pytest.approx(ratio, rel=1e-5)


def test_a_confidence_that_rounding_put_above_one_gives_probabilities_all_the_same() -> None:
    confidence = ClassConfidence(2, 0.5)
    confidence.value.copy_(torch.tensor([1.0000001, 1.0]))
    torch.testing.assert_close(confidence.category_probabilities(torch.tensor([[[0, 1]]])), torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize("classes", [2, 21, 255])
def test_the_ignore_index_is_not_a_class_that_can_be_present(classes: int) -> None:
    present = class_presence(torch.tensor([[[IGNORE, 1], [IGNORE, IGNORE]], [[0, 0], [1, 1]]]), classes)
    assert present.shape == (2, classes)
    assert present.nonzero().tolist() == [[0, 1], [1, 0], [1, 1]]


# Draws


def test_draws_are_a_function_of_key_and_slot_alone() -> None:
    whole = PasteDraws.of((0, "paste", 5), [0, 1, 2, 3])
    shard = PasteDraws.of((0, "paste", 5), [2, 3])
    for all_slots, some in zip(vars(whole).values(), vars(shard).values(), strict=True):
        assert torch.equal(all_slots[2:], some)


def test_draws_differ_between_keys_slots_and_uses() -> None:
    batches = [PasteDraws.of(key, [0, 1]) for key in ((0, "a", 5), (0, "b", 5), (0, "a", 6), (1, "a", 5))]
    numbers = torch.stack([values for batch in batches for values in vars(batch).values()]).flatten()
    assert len(numbers.unique()) == len(numbers)


def test_draws_are_uniform_on_the_unit_interval_and_never_one(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = torch.stack(list(vars(PasteDraws.of((0, "paste"), range(2000))).values()))
    # Four standard deviations of the mean of 6000 uniform numbers.
    assert abs(numbers.mean().item() - 0.5) < 4 * math.sqrt(1 / 12 / numbers.numel())
    assert numbers.min() >= 0

    class Highest:
        def random(self, size: int, dtype: type = np.float64) -> np.ndarray:
            return np.full(size, np.nextafter(dtype(1), dtype(0)), dtype)

    monkeypatch.setattr("ucc.copy_paste.generator", lambda *_: Highest())
    for values in vars(PasteDraws.of((0, "paste"), [0])).values():
        assert (values < 1).all()


# Choice of donor and category

unit = st.sampled_from([0.0, LARGEST_FLOAT32_BELOW_1, LARGEST_FLOAT64_BELOW_1]) | st.floats(0, 1, exclude_max=True)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0, 1, 3, 6, IGNORE]), min_size=4, max_size=4), min_size=2, max_size=4),
    st.lists(st.floats(0, 1, width=32), min_size=7, max_size=7),
    st.data(),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_what_is_pasted_is_a_class_of_a_donor_that_is_another_image(
    maps: list[list[int]], sigma: list[float], data: st.DataObject, within: bool, dtype: torch.dtype
) -> None:
    target = torch.tensor(maps).view(-1, 2, 2)
    donors = len(target)
    pasted = donors if within else 3
    numbers = [data.draw(st.lists(unit, min_size=pasted, max_size=pasted)) for _ in range(3)]
    tensors = [torch.tensor(row, dtype=torch.float64).to(dtype) for row in numbers]
    assume(all((row < 1).all() for row in tensors))
    confidence = ClassConfidence(7, 0.5)
    confidence.value.copy_(torch.tensor(sigma))
    images = torch.arange(donors).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)

    paste = draw_paste(images, target, confidence.category_probabilities(target), PasteDraws(*tensors), 1.0, within)

    chosen = paste.images[:, 0, 0, 0].tolist()
    for slot, donor in enumerate(chosen):
        if within:
            assert donor != slot
        category = paste.category[slot].item()
        present = set(target[donor].flatten().tolist()) - {IGNORE}
        if present:
            assert category in present
        assert torch.equal(paste.mask[slot], (target[donor] == category))
        assert not (paste.mask[slot] & (target[donor] == IGNORE)).any()


@pytest.mark.parametrize("within", [True, False])
def test_donors_are_uniform_over_all_that_are_allowed(within: bool) -> None:
    donors, repetitions = 4, 3000
    target = torch.zeros(donors, 1, 1, dtype=torch.long)
    images = torch.arange(donors).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    counts = np.zeros((donors, donors))
    for repetition in range(repetitions // 4):
        drawn = PasteDraws.of((0, "donors", repetition), range(donors))
        paste = draw_paste(images, target, uniform_categories(target), drawn, 1.0, within)
        counts[np.arange(donors), paste.images[:, 0, 0, 0].numpy()] += 1
    n = repetitions // 4
    allowed = donors - 1 if within else donors
    tolerance = 4 * math.sqrt(n * (1 / allowed) * (1 - 1 / allowed))  # four binomial standard deviations
    for slot, donor in np.ndindex(donors, donors):
        expected = 0.0 if within and slot == donor else n / allowed
        assert abs(counts[slot, donor] - expected) <= (tolerance if expected else 0)


def test_categories_are_drawn_with_their_probabilities() -> None:
    count = 4000
    target = torch.tensor([[[0, 1], [3, IGNORE]]])
    confidence = ClassConfidence(5, 0.5)
    confidence.value.copy_(torch.tensor([0.99, 0.6, 0.0, 0.05, 0.5]))
    probabilities = confidence.category_probabilities(target)
    drawn = PasteDraws.of((0, "categories"), range(count))
    paste = draw_paste(torch.zeros(1, 3, 2, 2), target, probabilities, drawn, 1.0, within=False)
    shares = torch.bincount(paste.category, minlength=5) / count
    for share, p in zip(shares.tolist(), probabilities[0].tolist(), strict=True):
        assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / count)  # four binomial standard deviations


def test_category_weights_need_not_sum_to_one() -> None:
    target = torch.tensor([[[0, 1], [3, 3]]])
    categories = [
        draw_paste(torch.zeros(1, 3, 2, 2), target, weights, draws([0], [0], [0.4]), 1.0, within=False).category.item()
        for weights in (uniform_categories(target), uniform_categories(target) / 3)
    ]
    assert categories == [1, 1]


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_a_paste_happens_with_its_probability(probability: float) -> None:
    count = 4000
    target = torch.ones(1, 1, 1, dtype=torch.long)
    drawn = PasteDraws.of((0, "happens"), range(count))
    paste = draw_paste(torch.zeros(1, 3, 1, 1), target, uniform_categories(target), drawn, probability, within=False)
    share = paste.mask.float().mean().item()
    assert abs(share - probability) <= 4 * math.sqrt(probability * (1 - probability) / count)


def test_probability_zero_and_one_hold_at_the_extreme_draws() -> None:
    target = torch.ones(1, 1, 1, dtype=torch.long)
    drawn = draws([0.0, LARGEST_FLOAT64_BELOW_1], [0, 0], [0, 0])
    for probability, expected in ((0.0, [False, False]), (1.0, [True, True])):
        paste = draw_paste(torch.zeros(1, 3, 1, 1), target, uniform_categories(target), drawn, probability, False)
        assert paste.mask.flatten().tolist() == expected


def test_a_donor_without_labels_pastes_nothing() -> None:
    target = torch.full((1, 2, 2), IGNORE)
    drawn = draws([0, 0], [0, 0.9], [0, LARGEST_FLOAT32_BELOW_1])
    probabilities = ClassConfidence(CLASSES, 0.5).category_probabilities(target)
    paste = draw_paste(torch.ones(1, 3, 2, 2), target, probabilities, drawn, 1.0, within=False)
    assert not paste.mask.any()


# The paste itself


def test_images_and_labels_take_every_pixel_of_the_category_and_keep_the_others() -> None:
    rng = np.random.default_rng(0)
    donors, labels = torch.from_numpy(rng.integers(0, 256, (3, 3, 4, 5), dtype=np.uint8)), random_maps(0)
    images = torch.from_numpy(rng.integers(0, 256, (2, 3, 4, 5), dtype=np.uint8))
    own_labels = random_maps(1, images=2)
    # Slot 0: donor 2, slot 1: donor 0; no paste into slot 1.
    drawn = draws([0.1, 0.9], [0.8, 0.1], [0.6, 0.2])
    paste = draw_paste(donors, labels, uniform_categories(labels), drawn, 0.5, within=False)
    category = int(paste.category[0])
    assert (labels[2] == category).any()

    expected_images, expected_labels = images.numpy().copy(), own_labels.numpy().copy()
    for y in range(4):
        for x in range(5):
            m = int(labels[2, y, x]) == category
            for channel in range(3):
                a, b = int(donors[2, channel, y, x]), int(images[0, channel, y, x])
                expected_images[0, channel, y, x] = m * a + (1 - m) * b
            expected_labels[0, y, x] = m * category + (1 - m) * int(own_labels[0, y, x])

    assert paste.into_images(images).dtype == torch.uint8
    np.testing.assert_array_equal(paste.into_images(images).numpy(), expected_images)
    np.testing.assert_array_equal(paste.into_labels(own_labels).numpy(), expected_labels)


def test_pasting_leaves_the_inputs_as_they_were() -> None:
    images, labels = torch.rand(3, 3, 4, 5), random_maps(2)
    before = images.clone(), labels.clone()
    drawn = draws([0, 0, 0], [0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    paste = draw_paste(images, labels, uniform_categories(labels), drawn, 1.0, within=True)
    changed = paste.into_images(images)
    paste.into_labels(labels)
    assert not torch.equal(changed, images)
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


def test_pastes_differ_from_step_to_step_in_labeled_and_in_unlabeled_images(
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of one and the same batch, and by CSCP, whose probabilities do not change while training goes on.
    params = tiny_params("method.copy_paste.mode=cscp", "method.copy_paste.probability=1")
    batch = StepBatches(tiny_dataset, tiny_manifest, params, unlabeled=True)[0]
    seen: dict[bool, set[bytes]] = {True: set(), False: set()}

    def note(*arguments: Any, within: bool, **others: Any) -> Paste:
        paste = draw_paste(*arguments, within=within, **others)
        seen[within].add(paste.mask.numpy().tobytes())
        return paste

    monkeypatch.setattr("ucc.methods.ucc.draw_paste", note)
    method = build_method(params, num_classes=3)
    with torch.no_grad():
        for step in range(12):
            method(batch, step)
    assert min(map(len, seen.values())) > 3


def test_pastes_differ_between_seeds_and_between_labeled_and_unlabeled_images(
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = StepBatches(tiny_dataset, tiny_manifest, tiny_params(), unlabeled=True)[0]
    seen: list[Tensor] = []

    def note(*arguments: Any, **others: Any) -> Paste:
        seen.append(arguments[3].donor)
        return draw_paste(*arguments, **others)

    monkeypatch.setattr("ucc.methods.ucc.draw_paste", note)
    with torch.no_grad():
        for seed in (0, 1):
            build_method(tiny_params(f"train.seed={seed}"), num_classes=3)(batch, 0)
    assert len({number for donors in seen for number in donors.tolist()}) == 4 * len(batch.labeled.slots)
