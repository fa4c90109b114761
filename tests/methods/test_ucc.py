"""UCC: its schedule, its teacher, and its step against a slow reference written from the equations."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from slow_reference import (
    CLASSES,
    Array,
    PixelHeads,
    random_batch,
    running_statistics,
    shares_of,
    slow_agreement,
    slow_supervised,
    softmax,
)
from torch import Tensor

from ucc.config import Params
from ucc.data.batch import Batch, LabeledBatch
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.methods import build_method
from ucc.methods.ucc import UCC
from ucc.models import Segmenter

LoadParams = Callable[..., Params]


@pytest.fixture(scope="module")
def batch(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> Batch:
    return StepBatches(tiny_dataset, tiny_manifest, tiny_params(), unlabeled=True)[0]


def build_ucc(params: Params) -> UCC:
    return cast(UCC, build_method(params, CLASSES))


def test_lambda_is_zero_in_the_warm_up_then_grows_linearly_to_its_full_value(tiny_params: LoadParams) -> None:
    ucc = build_ucc(tiny_params("train.supervised_warmup=4", "train.unsup_rampup=3", "method.unsup_weight=2"))
    assert [ucc.unsup_weight(step) for step in range(10)] == [0, 0, 0, 0, 0.5, 1.0, 1.5, 2, 2, 2]


def test_without_warm_up_and_ramp_lambda_is_full_from_the_first_step(tiny_params: LoadParams) -> None:
    assert build_ucc(tiny_params("method.unsup_weight=1.5")).unsup_weight(0) == 1.5


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_a_batch_has_unlabeled_images_where_lambda_is_above_zero(
    weight: float, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    params = tiny_params("train.supervised_warmup=2", "train.unsup_rampup=1", f"method.unsup_weight={weight}")
    ucc, batches = build_ucc(params), StepBatches(tiny_dataset, tiny_manifest, params, unlabeled=True)
    for step in range(5):
        assert (batches[step].unlabeled is not None) is (ucc.unsup_weight(step) > 0)


def test_unlabeled_images_do_not_matter_in_the_warm_up(batch: Batch, tiny_params: LoadParams) -> None:
    params = tiny_params("train.supervised_warmup=3", "model.dropout=0")
    ucc, other = build_ucc(params), build_ucc(params)
    assert "loss_unsup" not in (with_unlabeled := ucc(batch, 2)).record
    assert torch.equal(with_unlabeled.total, other(replace(batch, unlabeled=None), 2).total)
    assert "loss_unsup" in ucc(batch, 3).record


def test_no_gradient_passes_through_the_pseudo_labels(batch: Batch, tiny_params: LoadParams) -> None:
    assert batch.unlabeled is not None
    weak = batch.unlabeled.weak.float().requires_grad_()
    strong = batch.unlabeled.strong.float().requires_grad_()
    unlabeled = replace(batch.unlabeled, weak=weak, strong=strong)
    labeled = replace(batch.labeled, images=batch.labeled.images.float())
    build_ucc(tiny_params())(Batch(labeled, unlabeled), 0).total.backward()
    assert weak.grad is None
    assert strong.grad is not None
    assert strong.grad.abs().max() > 0


@pytest.mark.parametrize("mode", ["joint", "separate", "untracked"])
def test_each_way_to_normalize_strong_views_trains(mode: str, batch: Batch, tiny_params: LoadParams) -> None:
    losses = build_ucc(tiny_params(f"method.unlabeled_batchnorm={mode}"))(batch, 0)
    losses.total.backward()
    assert all(torch.isfinite(value) for value in losses.record.values())
    assert float(losses.record["loss_unsup"]) > 0


def test_untracked_statistics_are_tracked_again_afterwards(batch: Batch, tiny_params: LoadParams) -> None:
    method = build_ucc(tiny_params("method.unlabeled_batchnorm=untracked"))
    method(batch, 0)
    before = [value.clone() for value in running_statistics(method)]
    method.segmenter(batch.labeled.images)
    assert not any(torch.equal(one, other) for one, other in zip(before, running_statistics(method), strict=True))


def test_a_running_teacher_labels_as_in_deployment_and_leaves_no_trace(batch: Batch, tiny_params: LoadParams) -> None:
    assert batch.unlabeled is not None
    method = build_ucc(tiny_params("method.teacher_batchnorm=running"))
    with torch.no_grad():
        method.segmenter(batch.labeled.images)
    before = [value.clone() for value in running_statistics(method)]
    taught = method._pseudo_labels(batch.unlabeled)
    assert all(torch.equal(one, other) for one, other in zip(before, running_statistics(method), strict=True))
    assert method.segmenter.training
    with torch.no_grad():
        deployed = method.segmenter.eval()(batch.unlabeled.weak)
    assert [torch.equal(t.labels, logits.argmax(1)) for t, logits in zip(taught, deployed, strict=True)] == [True, True]


def slow_weight(own: float, peer: float, rule: str) -> float:
    """Eqs. 9-10 by decisions A and B, or as printed."""
    if rule == "none":
        return 1.0
    if rule == "confident_teacher":
        return own if own >= peer else 0.0
    return own if own <= peer else 0.0


def slow_unsupervised(
    weak: list[Array],
    strong: list[Array],
    weak_valid: NDArray[np.bool_],
    strong_valid: list[NDArray[np.bool_]],
    pasted: NDArray[np.int64],
    rule: str,
    normalize: str,
) -> float:
    """Eqs. 2, 3, 7-12, pixel by pixel; `pasted` holds the pasted class or -1."""
    images, _, height, width = weak[0].shape
    total = 0.0
    for teacher, student in ((0, 1), (1, 0)):
        for b in range(images):
            weighted, weights, pixels = 0.0, 0.0, 0
            for y, x in np.ndindex(height, width):
                own, peer = softmax(weak[teacher][b, :, y, x]), softmax(weak[student][b, :, y, x])
                label, u = int(own.argmax()), slow_weight(own.max(), peer.max(), rule)
                if pasted[b, y, x] >= 0:
                    label, u = int(pasted[b, y, x]), 1.0
                elif not (weak_valid[b, y, x] and strong_valid[student][b, y, x]):
                    continue
                weighted += u * -np.log(softmax(strong[student][b, :, y, x])[label])
                weights += u
                pixels += 1
            over = weights if normalize == "weights" else pixels
            total += weighted / over / images if over else 0.0
    return total


def slow_shares(
    weak: list[Array],
    weak_valid: NDArray[np.bool_],
    strong_valid: list[NDArray[np.bool_]],
    pasted: NDArray[np.int64],
    rule: str,
) -> dict[str, float]:
    """What is recorded beside the losses: how often the heads agree, and on which share of the pixels each teaches."""
    shares = {"agreement": slow_agreement(*weak, weak_valid)}
    for teacher, student in ((0, 1), (1, 0)):
        used = 0
        for b, y, x in np.ndindex(weak_valid.shape):
            own, peer = (softmax(weak[head][b, :, y, x]).max() for head in (teacher, student))
            seen = weak_valid[b, y, x] and strong_valid[student][b, y, x] and slow_weight(own, peer, rule) > 0
            used += pasted[b, y, x] >= 0 or seen
        shares[f"used_by_term_{teacher + 1}"] = used / weak_valid.size
    return shares


def stubbed(params: Params) -> tuple[UCC, PixelHeads]:
    stub = PixelHeads()
    return UCC(cast(Segmenter, stub), params), stub


@pytest.mark.parametrize("strong_views", [1, 2])
@pytest.mark.parametrize("normalize", ["weights", "pixels"])
@pytest.mark.parametrize("rule", ["none", "confident_teacher", "as_printed"])
@pytest.mark.parametrize("batchnorm", ["joint", "separate"])
def test_a_step_is_what_the_equations_say(
    rule: str, normalize: str, strong_views: int, batchnorm: str, tiny_params: LoadParams
) -> None:
    params = tiny_params(
        "method.copy_paste.mode=none",
        f"method.uncertainty.rule={rule}",
        f"method.uncertainty.normalize={normalize}",
        f"method.unlabeled_batchnorm={batchnorm}",
    )
    ucc, stub = stubbed(params)
    batch = random_batch(strong_views)
    losses = ucc(batch, 0)
    assert batch.unlabeled is not None
    loss_sup = slow_supervised(stub.scores(batch.labeled.images), batch.labeled.masks.numpy())
    weak, weak_valid = stub.scores(batch.unlabeled.weak), batch.unlabeled.weak_valid.numpy()
    strong = [stub.scores(batch.unlabeled.strong[head % strong_views])[head] for head in range(2)]
    strong_valid = [batch.unlabeled.strong_valid[head % strong_views].numpy() for head in range(2)]
    pasted = np.full((2, 8, 6), -1)
    loss_unsup = slow_unsupervised(weak, strong, weak_valid, strong_valid, pasted, rule, normalize)
    assert float(losses.record["loss_sup"]) == pytest.approx(loss_sup, rel=1e-5)
    assert float(losses.record["loss_unsup"]) == pytest.approx(loss_unsup, rel=1e-5)
    assert losses.total.item() == pytest.approx(loss_sup + 2.0 * loss_unsup, rel=1e-5)
    assert shares_of(losses.record) == pytest.approx(slow_shares(weak, weak_valid, strong_valid, pasted, rule))


def test_an_image_that_is_all_padding_teaches_nothing_and_breaks_nothing(tiny_params: LoadParams) -> None:
    ucc, _ = stubbed(tiny_params("method.copy_paste.mode=none"))
    batch = random_batch(2)
    assert batch.unlabeled is not None
    nothing = torch.zeros_like(batch.unlabeled.weak_valid)
    unlabeled = replace(batch.unlabeled, weak_valid=nothing, strong_valid=torch.stack([nothing, nothing]))
    losses = ucc(replace(batch, unlabeled=unlabeled), 0)
    losses.total.backward()
    assert float(losses.record["loss_unsup"]) == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in ucc.parameters() if parameter.grad is not None)


def find_pasted(views: Tensor, originals: Tensor, labeled: LabeledBatch) -> NDArray[np.int64]:
    """The class of pasted pixels (even colours), -1 elsewhere; checks that they are one class of one labelled image."""
    pasted = (views % 2 == 0).all(dim=1)
    kept = ~pasted.unsqueeze(1).expand_as(views)
    assert torch.equal(views[kept], originals[kept])
    found = np.full(pasted.shape, -1)
    for index, where in enumerate(pasted):
        if not where.any():
            continue
        fits = [
            (donor, category)
            for donor in range(len(labeled.images))
            for category in range(CLASSES)
            if torch.equal(where, labeled.masks[donor] == category)
            and torch.equal(views[index][:, where], labeled.images[donor][:, where])
        ]
        assert len(fits) == 1
        found[index][where.numpy()] = fits[0][1]
    return found


def test_pastes_land_in_all_strong_views_and_count_fully_for_both_heads(tiny_params: LoadParams) -> None:
    params = tiny_params("method.copy_paste.probability=1")
    batch = random_batch(2)
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    for step in range(3):
        ucc, stub = stubbed(params)
        losses = ucc(batch, step)
        weak, together = stub.encoded
        assert torch.equal(weak, unlabeled.weak)
        views = together[3:].unflatten(0, (2, 2))
        pasted = [find_pasted(views[v], unlabeled.strong[v], batch.labeled) for v in range(2)]
        np.testing.assert_array_equal(pasted[0], pasted[1])
        assert all((image >= 0).any() for image in pasted[0])
        taught, valid = stub.scores(unlabeled.weak), unlabeled.weak_valid.numpy()
        learned = [stub.scores(views[head])[head] for head in range(2)]
        seen = [unlabeled.strong_valid[head].numpy() for head in range(2)]
        rule = "confident_teacher"
        expected = slow_unsupervised(taught, learned, valid, seen, pasted[0], rule, "weights")
        assert float(losses.record["loss_unsup"]) == pytest.approx(expected, rel=1e-5)
        assert shares_of(losses.record) == pytest.approx(slow_shares(taught, valid, seen, pasted[0], rule))


@pytest.mark.parametrize("warmup", [0, 1])
def test_pastes_land_in_labeled_images_and_in_their_labels(warmup: int, tiny_params: LoadParams) -> None:
    batch = random_batch(2)
    ucc, stub = stubbed(tiny_params("method.copy_paste.probability=1", f"train.supervised_warmup={warmup}"))
    losses = ucc(batch, 0)
    images, masks = stub.encoded[-1][:3], batch.labeled.masks.clone()
    assert not torch.equal(images, batch.labeled.images)
    for index in range(3):
        changed = (images[index] != batch.labeled.images[index]).any(dim=0)
        fits = [
            category
            for donor in range(3)
            for category in range(CLASSES)
            if donor != index
            and torch.equal(
                torch.where(
                    batch.labeled.masks[donor] == category, batch.labeled.images[donor], batch.labeled.images[index]
                ),
                images[index],
            )
        ]
        assert len(fits) == 1
        masks[index][changed] = fits[0]
    expected = slow_supervised(stub.scores(images), masks.numpy())
    assert float(losses.record["loss_sup"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "crosses"), [("none", False), ("cp", False), ("dcp", False), ("cscp", True), ("dcscp", True)]
)
def test_table_5_says_which_images_are_pasted_into(mode: str, crosses: bool, tiny_params: LoadParams) -> None:
    batch = random_batch(2)
    assert batch.unlabeled is not None
    ucc, stub = stubbed(tiny_params(f"method.copy_paste.mode={mode}", "method.copy_paste.probability=1"))
    ucc(batch, 0)
    together = stub.encoded[1]
    assert torch.equal(together[:3], batch.labeled.images) is (mode == "none")
    assert torch.equal(together[3:], batch.unlabeled.strong.flatten(0, 1)) is not crosses


@pytest.mark.parametrize(("mode", "dynamic"), [("cp", False), ("cscp", False), ("dcp", True), ("dcscp", True)])
def test_table_5_says_whether_confidence_chooses_the_category(
    mode: str, dynamic: bool, tiny_params: LoadParams
) -> None:
    batch = random_batch(2)
    pasted = []
    for confidence in ([1.0, 1.0, 0.0], [0.0, 1.0, 1.0]):
        drawn = []
        for step in range(12):
            ucc, stub = stubbed(tiny_params(f"method.copy_paste.mode={mode}", "method.copy_paste.probability=1"))
            ucc.confidence.value.copy_(torch.tensor(confidence))
            ucc(batch, step)
            drawn.append(stub.encoded[1][:3])
        pasted.append(torch.stack(drawn))
    assert torch.equal(pasted[0], pasted[1]) is not dynamic


@pytest.mark.parametrize("warmup", [0, 1])
def test_class_confidences_follow_the_labeled_pixels(warmup: int, tiny_params: LoadParams) -> None:
    batch = random_batch(2)
    changes = ("method.copy_paste.mode=none", "method.copy_paste.ema_decay=0.9", f"train.supervised_warmup={warmup}")
    ucc, stub = stubbed(tiny_params(*changes))
    ucc(batch, 0)
    masks = batch.labeled.masks.numpy()
    heads = stub.scores(batch.labeled.images)
    for category in range(CLASSES):
        seen = [
            softmax(head[b, :, y, x])[category]
            for head in heads
            for b, y, x in np.ndindex(masks.shape)
            if masks[b, y, x] == category
        ]
        expected = 0.9 / CLASSES + 0.1 * np.mean(seen)
        assert float(ucc.confidence.value[category]) == pytest.approx(expected, rel=1e-5)


def test_pastes_are_counted_by_class(tiny_params: LoadParams) -> None:
    batch = random_batch(2)
    always = ("method.copy_paste.mode=dcscp", "method.copy_paste.probability=1")
    ucc, _ = stubbed(tiny_params(*always))
    ucc(batch, 0)
    assert batch.unlabeled is not None
    assert int(ucc.class_figures()["pasted"].sum()) == len(batch.labeled.images) + len(batch.unlabeled.weak)
    never, _ = stubbed(tiny_params("method.copy_paste.mode=dcscp", "method.copy_paste.probability=0"))
    never(batch, 0)
    assert int(never.class_figures()["pasted"].sum()) == 0
