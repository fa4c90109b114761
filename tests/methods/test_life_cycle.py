"""The contract of every training method beyond a step: interrupted and resumed, saved, exported."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_segmenter import random_images

import ucc.training
from ucc.config import METHODS, Params
from ucc.data.manifest import Manifest
from ucc.export import export_segmenter
from ucc.inference import predict, uncertainty
from ucc.models.store import load_segmenter
from ucc.segmenter import Segmenter as ExportedSegmenter
from ucc.signals import StoppedError, StopRequest
from ucc.training import TrainingPaths, train

LoadParams = Callable[..., Params]
HEADS = {"supervised": 1, "mean_teacher": 1, "cct": 1, "gct": 2, "cps": 2, "ucc": 2}


class AfterTwoSteps(StopRequest):
    """A signal that comes while the second step is under way."""

    steps = 0

    def __bool__(self) -> bool:
        self.steps += 1
        self.signal = signal.SIGTERM if self.steps == 2 else None
        return self.signal is not None


@contextmanager
def stop_after_two_steps() -> Iterator[StopRequest]:
    yield AfterTwoSteps()


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_training_goes_on_to_the_same_segmenter_and_that_one_is_exported(
    name: str,
    tiny_dataset: Path,
    tiny_manifest: Manifest,
    tiny_params: LoadParams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = tiny_params(f"method.name={name}", "model.backbone=resnet18", "train.steps=4", "train.supervised_warmup=1")
    tiny_manifest.write(tmp_path / "manifest.csv")
    files = {field: tmp_path / field for field in ("runs", "final", "best", "history", "confidence", "metrics")}
    paths = TrainingPaths(dataset=tiny_dataset, manifest=tmp_path / "manifest.csv", **files)
    with monkeypatch.context() as patch:
        patch.setattr(ucc.training, "stop_request", stop_after_two_steps)
        with pytest.raises(StoppedError, match="stopped after step 2"):
            train(params, paths)
    train(params, paths)
    undisturbed = replace(paths, runs=tmp_path / "other_runs", final=tmp_path / "other_final")
    train(params, undisturbed)
    segmenter, facts = load_segmenter(paths.final)
    expected, _ = load_segmenter(undisturbed.final)
    assert len(segmenter.heads) == HEADS[name]
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in segmenter.state_dict().items())

    export_segmenter(segmenter, facts, {}, "c0ffee", tmp_path / "segmenter.onnx", opset=18)
    images = random_images(2, 40, 48)
    found = ExportedSegmenter(tmp_path / "segmenter.onnx").segment_batch(images)
    with torch.inference_mode():
        probabilities = predict(segmenter, torch.from_numpy(images).permute(0, 3, 1, 2))[0]
    np.testing.assert_allclose(found.uncertainty, uncertainty(probabilities).numpy(), rtol=0, atol=1e-4)
    assert (found.classes == probabilities.argmax(dim=1).numpy()).mean() > 0.99
