"""The contract of every training method."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from slow_reference import PixelHeads, random_batch, running_statistics, slow_supervised
from torch import nn

from ucc.config import METHODS, Params
from ucc.data.batch import Batch
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.methods import Method, build_method

LoadParams = Callable[..., Params]
CLASSES = 3
# How labelled and unlabelled images pass the network: as in the paper (tests/tiny.py), and as in presets/camvid.yaml.
PASSES = {
    "literal": (),
    "presets": (
        "method.teacher_batchnorm=running",
        "method.unlabeled_batchnorm=untracked",
        "method.uncertainty.normalize=pixels",
        "views.strong_per_head=false",
    ),
}


@pytest.fixture(params=PASSES)
def passes(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return PASSES[request.param]


@pytest.fixture(scope="module")
def batch(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> Batch:
    return StepBatches(tiny_dataset, tiny_manifest, tiny_params(), unlabeled=True)[0]


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_finite_scalars_and_gradients_reach_all_that_is_trained_and_nothing_else(
    name: str, passes: tuple[str, ...], batch: Batch, tiny_params: LoadParams
) -> None:
    method = build_method(tiny_params(f"method.name={name}", *passes), CLASSES)
    losses = method(batch, 0)
    assert losses.total.shape == ()
    assert {"loss", "loss_sup"} <= losses.record.keys()
    assert ("loss_unsup" in losses.record) is method.uses_unlabeled
    for value in losses.record.values():
        assert value.shape == ()
        assert torch.isfinite(value)
        assert not value.requires_grad
    assert losses.record["loss"] == losses.total
    losses.total.backward()
    for parameter_name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
        else:
            assert parameter.grad is None, parameter_name
    for part in trained_parts(method):
        assert max(float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None) > 0


def trained_parts(method: Method) -> list[nn.Module]:
    """Encoders, heads and whatever else has parameters of its own that learn."""
    parts = [part for module in method.children() for part in (*module.children(), module)]
    return [part for part in parts if any(parameter.requires_grad for parameter in part.parameters())]


@pytest.mark.parametrize("name", METHODS)
def test_no_gradient_passes_through_what_teaches(
    name: str, passes: tuple[str, ...], batch: Batch, tiny_params: LoadParams
) -> None:
    """Pseudo labels and targets come from the weak view; where that view also learns, all of it is one pass."""
    assert batch.unlabeled is not None
    weak = batch.unlabeled.weak.float().requires_grad_()
    strong = batch.unlabeled.strong.float().requires_grad_()
    labeled = replace(batch.labeled, images=batch.labeled.images.float().requires_grad_())
    method = build_method(tiny_params(f"method.name={name}", *passes), CLASSES)
    method(Batch(labeled, replace(batch.unlabeled, weak=weak, strong=strong)), 0).total.backward()
    assert labeled.images.grad is not None
    learns_on = {"ucc": strong, "mean_teacher": strong, "cps": weak, "cct": weak, "gct": weak}.get(name)
    for view in (weak, strong):
        assert (view.grad is not None) is (view is learns_on)


def course(loss: str, method: Method, batch: Batch, lr: float, steps: int) -> list[float]:
    """A loss over some steps on one batch."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    values = []
    for _ in range(steps):
        torch.manual_seed(0)
        losses = method(batch, 0)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        values.append(float(losses.record[loss]))
    return values


@pytest.mark.parametrize("name", METHODS)
def test_a_few_steps_lower_the_labeled_loss(name: str, batch: Batch, tiny_params: LoadParams) -> None:
    method = build_method(tiny_params(f"method.name={name}", "method.copy_paste.mode=none"), CLASSES)
    values = course("loss_sup", method, batch, lr=0.02, steps=8)
    assert values[-1] < 0.8 * values[0]


# What GCT's loss counts grows while its flaw detector learns: nothing exceeds the threshold at first. CCT's targets
# move away from its decoders while the encoder changes, if they come from running statistics.
@pytest.mark.parametrize(
    ("name", "kind"), [("mean_teacher", "presets"), ("cct", "literal"), ("cps", "presets"), ("ucc", "presets")]
)
def test_a_few_steps_lower_the_unlabeled_loss(name: str, kind: str, batch: Batch, tiny_params: LoadParams) -> None:
    changes = (f"method.name={name}", "method.copy_paste.mode=none", "method.unsup_weight=500", "model.dropout=0")
    method = build_method(tiny_params(*changes, *PASSES[kind]), CLASSES)
    values = course("loss_unsup", method, batch, lr=0.0005, steps=20)
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", METHODS)
def test_its_state_is_all_that_a_method_needs_to_go_on(name: str, batch: Batch, tiny_params: LoadParams) -> None:
    first = build_method(tiny_params(f"method.name={name}"), CLASSES)
    first(batch, 0)
    second = build_method(tiny_params(f"method.name={name}", "train.seed=1"), CLASSES)
    second.load_state_dict(first.state_dict())
    second_seed_aside = build_method(tiny_params(f"method.name={name}"), CLASSES)
    second_seed_aside.load_state_dict(second.state_dict())
    records = []
    for method in (first, second_seed_aside):
        torch.manual_seed(0)
        records.append(method(batch, 1).record)
    assert records[0].keys() == records[1].keys()
    assert all(torch.equal(records[0][key], records[1][key]) for key in records[0])


@pytest.mark.parametrize("name", METHODS)
def test_only_methods_that_say_so_look_at_unlabeled_images(name: str, batch: Batch, tiny_params: LoadParams) -> None:
    method = build_method(tiny_params(f"method.name={name}", "model.dropout=0"), CLASSES)
    other = deepcopy(method)
    assert batch.unlabeled is not None
    unlabeled = replace(batch.unlabeled, weak=255 - batch.unlabeled.weak, strong=255 - batch.unlabeled.strong)
    changed = replace(batch, unlabeled=unlabeled)
    totals = []
    for one, data in ((method, batch), (other, changed)):
        torch.manual_seed(0)
        totals.append(one(data, 0).total)
    same = torch.equal(*totals)
    assert same is not method.uses_unlabeled


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("views", ["none", "strong", "weak", "weak_strong"])
def test_a_method_gets_the_views_it_asks_for(
    name: str, views: str, tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    params = tiny_params(f"method.name={name}", f"method.views={views}")
    method = build_method(params, CLASSES)
    batch = StepBatches(tiny_dataset, tiny_manifest, params, method.uses_unlabeled, method.strong_views)[0]
    assert torch.isfinite(method(batch, 0).total)
    if batch.unlabeled is None:
        assert not method.uses_unlabeled
    else:
        # Of weak and strong views each of UCC's heads has one of its own (views.strong_per_head).
        learns_on = {"ucc": 2 if views == "weak_strong" else 1, "mean_teacher": 1}
        assert len(batch.unlabeled.strong) == learns_on.get(name, 0)


@pytest.mark.parametrize("name", METHODS)
def test_hard_example_mining_changes_the_labeled_loss(name: str, batch: Batch, tiny_params: LoadParams) -> None:
    ohem = ("method.ohem.enabled=true", "method.ohem.threshold=0", "method.ohem.min_kept=6250")
    changes = (f"method.name={name}", "model.dropout=0")
    plain = build_method(tiny_params(*changes), CLASSES)(batch, 0).record["loss_sup"]
    mined = build_method(tiny_params(*changes, *ohem), CLASSES)(batch, 0).record["loss_sup"]
    assert mined > 1.2 * plain  # 10 pixels an image, the hardest ones


# Beside it, GCT's labelled loss has that of its flaw detector (test_gct.py).
@pytest.mark.parametrize("name", [name for name in METHODS if name != "gct"])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
@pytest.mark.parametrize("warmup", [0, 1])
def test_the_labeled_loss_is_that_of_all_heads_and_the_whole_loss_of_the_warm_up(
    warmup: int, threshold: float, name: str, tiny_params: LoadParams
) -> None:
    mining = f"method.ohem.enabled={'true' if threshold < 1 else 'false'}"
    ohem = (mining, f"method.ohem.threshold={threshold}", "method.ohem.min_kept=1")
    changes = (f"method.name={name}", "method.copy_paste.mode=none", f"train.supervised_warmup={warmup}", *ohem)
    method, batch = build_method(tiny_params(*changes), CLASSES), random_batch(2)
    stub = PixelHeads(heads=len(method.segmenter.heads))
    if name == "cct":
        batch = replace(batch, unlabeled=None)  # whose features are not those of pixels
    for part in {"segmenter", "student"} & dict(method.named_children()).keys():
        setattr(method, part, deepcopy(stub))
    losses = method(batch, 0)
    expected = slow_supervised(stub.scores(batch.labeled.images), batch.labeled.masks.numpy(), threshold)
    assert losses.record["loss_sup"].item() == pytest.approx(expected, rel=1e-5)
    if warmup:
        assert losses.total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "supervised"])
@pytest.mark.parametrize("teacher", ["batch", "running"])
@pytest.mark.parametrize("mode", ["joint", "separate", "untracked"])
def test_untracked_images_and_running_teachers_leave_no_trace_in_the_running_statistics(
    mode: str, teacher: str, name: str, batch: Batch, tiny_params: LoadParams
) -> None:
    assert batch.unlabeled is not None
    changes = (f"method.name={name}", "method.copy_paste.mode=none", "model.dropout=0")
    passes = (f"method.unlabeled_batchnorm={mode}", f"method.teacher_batchnorm={teacher}")
    method, clean = (build_method(tiny_params(*changes, *passes), CLASSES) for _ in range(2))
    method(batch, 0)
    with torch.no_grad():
        # The other two teach in the pass that learns.
        if teacher == "batch" and name in ("mean_teacher", "cps", "ucc"):
            clean.segmenter(batch.unlabeled.weak)
        getattr(clean, "student", clean.segmenter)(batch.labeled.images)
    pairs = zip(running_statistics(method), running_statistics(clean), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs) is (mode == "untracked")


# GCT has no pass for pseudo labels.
@pytest.mark.parametrize("name", ["mean_teacher", "cct", "cps", "ucc"])
def test_a_running_teacher_teaches_something_else(name: str, batch: Batch, tiny_params: LoadParams) -> None:
    changes = (f"method.name={name}", "method.copy_paste.mode=none", "model.dropout=0")
    losses = []
    for mode in ("batch", "running"):
        method = build_method(tiny_params(*changes, f"method.teacher_batchnorm={mode}"), CLASSES)
        torch.manual_seed(0)  # for CCT's perturbations
        losses.append(method(batch, 0).record["loss_unsup"])
    assert losses[0] != losses[1]
