"""A loss that is not finite is found at its first step, with the images and the batch to look at."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor

from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.loader import StepBatches
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.methods import StepLosses
from ucc.nonfinite import LossWatch, NonFinite, finite_weights, stop_nonfinite

LoadParams = Callable[..., Params]


def losses(value: float) -> StepLosses:
    total = torch.tensor(value, requires_grad=True)
    return StepLosses(total, {"loss": total.detach(), "loss_sup": torch.tensor(1.0)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_of_several_broken_steps_is_found_with_its_figures(value: float) -> None:
    watch = LossWatch()
    for step, loss in enumerate((0.5, 0.4, value, math.nan, 0.3), start=10):
        watch.add(step, losses(loss))
    found = watch.first_nonfinite()
    assert found is not None
    assert found.step == 12
    assert str(found.losses["loss"]) == str(value)
    assert found.losses["loss_sup"] == 1.0


def test_finite_losses_are_forgotten_once_they_were_looked_at() -> None:
    watch = LossWatch()
    assert watch.first_nonfinite() is None
    watch.add(0, losses(0.5))
    assert watch.first_nonfinite() is None
    watch.add(1, losses(math.nan))
    assert watch.first_nonfinite() == NonFinite(1, {"loss": pytest.approx(math.nan, nan_ok=True), "loss_sup": 1.0})
    assert watch.first_nonfinite() is None


def test_nothing_waits_for_the_device_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = LossWatch()
    for name in ("item", "__bool__", "__float__", "cpu", "tolist"):
        monkeypatch.setattr(Tensor, name, lambda *_: pytest.fail("waited for the device"))
    for step in range(5):
        watch.add(step, losses(0.5))


def test_one_weight_that_is_not_finite_is_enough() -> None:
    module = torch.nn.Linear(3, 2)
    assert finite_weights(module)
    module.weight.data[1, 1] = math.inf
    assert not finite_weights(module)


@pytest.fixture
def batches(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> StepBatches:
    return StepBatches(tiny_dataset, tiny_manifest, tiny_params(), unlabeled=True)


def test_the_names_of_a_step_are_those_of_the_files_its_batch_reads(
    batches: StepBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    load_sample, read_image = batches_module("load_sample"), batches_module("read_image")
    monkeypatch.setattr("ucc.data.loader.load_sample", lambda d, s: (opened.append(d / s.image), load_sample(d, s))[1])
    monkeypatch.setattr("ucc.data.loader.read_image", lambda p: (opened.append(p), read_image(p))[1])
    for step in (0, 3, 17):
        opened.clear()
        batches[step]
        names = batches.names(step)
        assert [len(files) for files in names.values()] == [2, 2]
        assert [batches.dataset / name for files in names.values() for name in files] == opened


def test_the_names_and_pictures_of_a_step_of_the_warm_up_are_those_of_labeled_images(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, tmp_path: Path
) -> None:
    prepared = StepBatches(tiny_dataset, tiny_manifest, tiny_params("train.supervised_warmup=3"), unlabeled=True)
    assert [len(prepared.names(step)["unlabeled"]) for step in (1, 2, 3)] == [0, 0, 2]
    with pytest.raises(UserError, match=r"\(labeled: [^;]*\)"):
        stop_nonfinite(NonFinite(1, {"loss": math.nan}), prepared, DatasetInfo.read(tiny_dataset), tmp_path)
    folder = tmp_path / "nonfinite_step_2"
    assert json.loads((folder / "batch.json").read_text())["unlabeled"] == []
    assert all(file.name.startswith("labeled_") for file in folder.glob("*.png"))


def batches_module(name: str) -> Callable[..., object]:
    import ucc.data.loader

    return getattr(ucc.data.loader, name)


def test_the_batch_is_written_as_pictures_with_its_files_and_losses(
    batches: StepBatches, tiny_dataset: Path, tmp_path: Path
) -> None:
    names = batches.names(4)
    found = NonFinite(4, {"loss": math.nan, "loss_sup": 0.5, "loss_unsup": math.inf})
    with pytest.raises(UserError) as stopped:
        stop_nonfinite(found, batches, DatasetInfo.read(tiny_dataset), tmp_path)
    folder, message = tmp_path / "nonfinite_step_5", str(stopped.value)
    assert "not finite at step 5: loss is nan, loss_unsup is inf." in message
    assert all(name in message for files in names.values() for name in files)
    assert str(folder) in message
    assert "lower train.lr" in message
    assert json.loads((folder / "batch.json").read_text()) == {
        "step": 5,
        **names,
        "losses": {"loss": "nan", "loss_sup": "0.5", "loss_unsup": "inf"},
    }
    views = ("weak", "strong_1", "strong_2")
    expected = {f"labeled_{slot}_{kind}.png" for slot in (0, 1) for kind in ("image", "mask")}
    expected |= {f"unlabeled_{slot}_{kind}.png" for slot in (0, 1) for kind in views}
    assert {file.name for file in folder.glob("*.png")} == expected
    picture = cv2.imread(str(folder / "unlabeled_1_strong_2.png"))[..., ::-1]
    unlabeled = batches[4].unlabeled
    assert unlabeled is not None
    assert torch.equal(torch.from_numpy(picture.copy()).permute(2, 0, 1), unlabeled.strong[1, 1])
