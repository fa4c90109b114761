"""Training: one loop for every method, resumable after any interruption to the same weights."""

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import SGD

from ucc.checkpoints import load_checkpoint, save_checkpoint
from ucc.config import Params, TrainParams
from ucc.data.dataset import DatasetInfo
from ucc.data.loader import StepBatches, training_batches
from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.evaluation import validate_miou
from ucc.files import atomic_path, write_json
from ucc.history import CONFIDENCE, History, TrainingProgress
from ucc.memory import explained_out_of_memory
from ucc.methods import Method, build_method
from ucc.models.store import SegmenterFacts, save_segmenter
from ucc.nonfinite import LossWatch, NonFinite, finite_weights, stop_nonfinite
from ucc.runs import data_hash, fingerprint, locked
from ucc.seeding import seed as derive_seed


@dataclass(frozen=True)
class TrainingPaths:
    """Where training reads and writes."""

    dataset: Path
    manifest: Path
    runs: Path
    final: Path
    best: Path
    history: Path
    confidence: Path
    metrics: Path


def train(params: Params, paths: TrainingPaths) -> None:
    """Train `method.name` to `train.steps`, going on from the run's last checkpoint if there is one.

    Raises:
        UserError: if the data cannot be read, another process trains this run, the loss is no longer finite,
            or memory runs out.
    """
    info, manifest = DatasetInfo.read(paths.dataset), Manifest.read(paths.manifest)
    if not manifest.subset("val"):
        raise UserError(f"{paths.manifest}: there is no image to validate on; the data set needs a val split.")
    run = paths.runs / fingerprint(params, data_hash(paths.dataset, manifest), info)
    with locked(run), explained_out_of_memory(params):
        Trainer(params, paths, info, manifest, run).fit()


class Trainer:
    """The parts of a training that the loop needs, built once."""

    def __init__(self, params: Params, paths: TrainingPaths, info: DatasetInfo, manifest: Manifest, run: Path) -> None:
        self.params, self.paths, self.info, self.manifest, self.run = params, paths, info, manifest, run
        precision = cast(Any, params.train.precision)  # Fabric's type is a closed list of literals
        self.fabric = Fabric(accelerator=params.train.accelerator, devices=1, precision=precision)
        self.method: Method = build_method(params, info.num_classes)
        self.optimizer = SGD(
            parameter_groups(self.method, params.train), momentum=params.train.momentum, nesterov=False
        )
        self.wrapped, self.wrapped_optimizer = self.fabric.setup(self.method, self.optimizer)
        self.history = History()
        self.watch = LossWatch()
        self.best: dict[str, float] = {"miou": -1.0, "step": 0}

    def fit(self) -> None:
        """The training loop."""
        params, fabric = self.params.train, self.fabric
        start = self._resume()
        method = self.method
        self.batches = batches = StepBatches(
            self.paths.dataset, self.manifest, self.params, method.uses_unlabeled, method.strong_views
        )
        loader = training_batches(batches, start, params.steps, params.workers, fabric.device)
        images = params.batch_labeled + (params.batch_unlabeled if self.method.uses_unlabeled else 0)
        progress = TrainingProgress(params, images, start)
        self.wrapped.train()
        for step, batch in zip(range(start, params.steps), loader, strict=True):
            # Dropout draws from torch's global generator; seeded by the step, it needs no place in the checkpoint.
            torch.manual_seed(derive_seed(params.seed, "step", step))
            set_learning_rate(self.optimizer, params, step)
            losses = self.wrapped(batch.to(fabric.device), step)
            self.wrapped_optimizer.zero_grad()
            fabric.backward(losses.total)
            self.wrapped_optimizer.step()
            self.history.add(losses.record)
            self.watch.add(step, losses)
            done = step + 1
            validated = self._validate() if done % params.val_every == 0 or done == params.steps else {}
            if validated or done % params.log_every == 0:
                self._log(done, validated, progress)
            if done % params.checkpoint_every == 0 or done == params.steps:
                self._require_finite()
                self._require_finite_weights(step)
                self._save(done)
        self._publish()

    def _validate(self) -> dict[str, float]:
        """mIoU of each head on val, whole images, in percent."""
        samples = self.manifest.subset("val")
        scores = validate_miou(
            self.method.segmenter,
            samples,
            self.paths.dataset,
            self.info,
            self.params.evaluate,
            self.fabric.device,
        )
        return {f"val_miou_{name}": score for name, score in scores.items()}

    def _log(self, step: int, validated: dict[str, float], progress: TrainingProgress) -> None:
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        row = self.history.close_row(step, lr=rates["encoder"], **validated)
        progress.show(row)
        confidence = self.method.class_confidence()
        if confidence is not None:
            row |= {
                f"{CONFIDENCE}{name}": value for name, value in zip(self.info.classes, confidence.tolist(), strict=True)
            }
        self._require_finite()
        if validated and validated["val_miou_head_1"] > self.best["miou"]:
            self.best = {"miou": validated["val_miou_head_1"], "step": step}
            save_segmenter(self.run / "best.pt", self.method.segmenter, self._facts(step))
        self._write_live()

    def _require_finite(self) -> None:
        """Before anything is written that a later start would go on from."""
        found = self.watch.first_nonfinite()
        if found is not None:
            stop_nonfinite(found, self.batches, self.info, self.run)

    def _require_finite_weights(self, step: int) -> None:
        if not finite_weights(self.method):
            stop_nonfinite(NonFinite(step, {"a weight": math.nan}), self.batches, self.info, self.run)

    def _write_live(self) -> None:
        """What `dvc exp show` and `dvc plots` read while training runs."""
        self.history.write(self.paths.history)
        self.history.write_confidence(self.paths.confidence)
        values: dict[str, float | int | str] = {"step": self.history.rows[-1]["step"]}
        values |= self.history.latest("loss") | self.history.latest("val_")
        if self.best["step"]:
            values |= {"best_val_miou": self.best["miou"], "best_step": self.best["step"]}
        write_json(self.paths.metrics, values | {"manifest": self.manifest.hash, "fingerprint": self.run.name})

    def _facts(self, step: int) -> SegmenterFacts:
        return SegmenterFacts(
            dataset=self.info.name,
            classes=self.info.classes,
            colors=self.info.colors,
            model=self.params.model,
            step=step,
            fingerprint=self.run.name,
            manifest=self.manifest.hash,
            params=asdict(self.params),
        )

    def _save(self, step: int) -> None:
        state = {
            "step": step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of 16-mixed
            "history": self.history.state_dict(),
            "best": self.best,
        }
        save_checkpoint(self.run / "checkpoint.pt", state)

    def _resume(self) -> int:
        """Load the run's checkpoint; the number of steps that it has behind it, 0 without one."""
        state = load_checkpoint(self.run / "checkpoint.pt")
        if state is None:
            print(f"run {self.run.name}: training from the start", flush=True)
            return 0
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.history.load_state_dict(state["history"])
        self.best = state["best"]
        step = int(state["step"])
        print(f"run {self.run.name}: going on after step {step}", flush=True)
        # DVC deletes a stage's outputs before it starts the stage again.
        if self.history.rows:
            self._write_live()
        return step

    def _publish(self) -> None:
        """Put the final and the best segmenter where the next stages look for them."""
        save_segmenter(self.paths.final, self.method.segmenter, self._facts(self.params.train.steps))
        best = self.run / "best.pt"
        with atomic_path(self.paths.best) as temporary:
            shutil.copyfile(best, temporary)


def parameter_groups(method: nn.Module, params: TrainParams) -> list[dict[str, Any]]:
    """SGD's groups: encoder and heads with their own rates, norms and biases of each without weight decay.

    What does not require gradients, such as an averaged teacher, is in none.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        key = "encoders." in name, parameter.ndim > 1
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "name": ("encoder" if encoder else "heads") + ("" if decays else " without decay"),
            "base_lr": params.lr * (1.0 if encoder else params.head_lr_multiplier),
            "weight_decay": params.weight_decay if decays else 0.0,
        }
        for (encoder, decays), parameters in groups.items()
    ]


def set_learning_rate(optimizer: SGD, params: TrainParams, step: int) -> None:
    """Polynomial decay, `lr = base * (1 - step / steps) ** power`, in each group."""
    factor = (1 - step / params.steps) ** params.poly_power
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
