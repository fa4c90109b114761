"""Training: one loop for every method, resumable after any interruption to the same weights."""

import math
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import SGD

from ucc.checkpoints import mend_checkpoint, read_checkpoint, save_checkpoint
from ucc.config import Params
from ucc.data.batch import Batch
from ucc.data.dataset import DatasetInfo
from ucc.data.loader import StepBatches, training_batches
from ucc.data.manifest import Manifest
from ucc.devices import joined_devices
from ucc.distributed import gather, mean_record, on_first, one_voice, rank, synchronize_batchnorm, world
from ucc.errors import UserError
from ucc.evaluation import validate_miou
from ucc.files import write_json
from ucc.history import History
from ucc.memory import explained_out_of_memory
from ucc.methods import Method, StepLosses, build_method, method_class
from ucc.models.store import TRAINED_WITH, SegmenterFacts, is_segmenter, load_segmenter, save_segmenter
from ucc.nonfinite import LossWatch, NonFinite, finite_weights, stop_nonfinite
from ucc.optimizer import parameter_groups, set_learning_rate
from ucc.output import tell
from ucc.progress import TrainingProgress
from ucc.runs import data_hash, fingerprint, locked, outputs_locked
from ucc.seeding import seed as derive_seed
from ucc.signals import StopRequest, stop_request


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

    On several devices each has a process that does this; the first one alone writes and prints, but all read the
    checkpoint, so that nodes need a file system in common.

    Raises:
        UserError: if the data cannot be read, another process trains this run or another one to the same outputs, the
            loss is no longer finite, memory runs out, or one of several processes has ended.
        StoppedError: after Ctrl-C or SIGTERM, when the checkpoint is written.
    """
    idle = method_class(params).idle_in_warmup
    with joined_devices(params.train, idle) as fabric, one_voice(), ExitStack() as held, stop_request() as stop:
        info, manifest = DatasetInfo.read(paths.dataset), Manifest.read(paths.manifest)
        if not manifest.subset("val"):
            raise UserError(f"{paths.manifest}: there is no image to validate on; the data set needs a val split.")

        def claim() -> Path:
            run = paths.runs / fingerprint(params, data_hash(paths.dataset, manifest), info)
            held.enter_context(locked(run))
            held.enter_context(outputs_locked(paths.final))
            return run

        run = on_first(claim)
        with explained_out_of_memory(params):
            Trainer(params, paths, info, manifest, run, fabric).fit(stop)


class Trainer:
    """The parts of a training that the loop needs, built once."""

    def __init__(
        self, params: Params, paths: TrainingPaths, info: DatasetInfo, manifest: Manifest, run: Path, fabric: Fabric
    ) -> None:
        self.params, self.paths, self.info, self.manifest, self.run = params, paths, info, manifest, run
        self.fabric = fabric
        self.method: Method = build_method(params, info.num_classes)
        if world() > 1:
            synchronize_batchnorm(self.method, fabric.device)
        self.optimizer = SGD(
            parameter_groups(self.method, params.train), momentum=params.train.momentum, nesterov=False
        )
        self.wrapped, self.wrapped_optimizer = self.fabric.setup(self.method, self.optimizer)
        self.history = History()
        self.watch = LossWatch()
        self.best: dict[str, float] = {"miou": -1.0, "step": 0}
        self.kept = self.best["step"]  # what the checkpoint says is the best; the one before may name another

    def fit(self, stop: StopRequest | None = None) -> None:
        """The training loop; on `stop` it ends after the step, with its checkpoint."""
        stop = StopRequest() if stop is None else stop
        params, fabric = self.params.train, self.fabric
        start = self._resume()
        method = self.method
        batches = StepBatches(
            self.paths.dataset, self.manifest, self.params, method.uses_unlabeled, method.strong_views, rank(), world()
        )
        progress = TrainingProgress(params.steps, batches.images, start)
        self.wrapped.train()
        # Closed at once when training ends early: the workers end when told to, and ignore signals.
        with closing(training_batches(batches, start, params.steps, params.workers, fabric.device)) as loader:
            for step, batch in zip(range(start, params.steps), progress.timed(loader), strict=True):
                self._learn(batch.to(fabric.device), step)
                self._follow_up(step + 1, progress, stop)
        if start < params.steps:
            self._tell_speed(progress)
        self._publish()

    def _learn(self, batch: Batch, step: int) -> None:
        params = self.params.train
        # Dropout draws from torch's global generator; seeded by the step, it needs no place in the checkpoint.
        # Each process draws for its own images, hence other masks with another number of devices.
        torch.manual_seed(derive_seed(params.seed, "step", step, *([rank()] if rank() else [])))
        set_learning_rate(self.optimizer, params, step)
        self.wrapped_optimizer.zero_grad()
        records = self._gradients(batch, step)
        self.wrapped_optimizer.step()
        for record in records:
            self.history.add(record)
            self.watch.add(step, StepLosses(record["loss"], record))

    def _follow_up(self, done: int, progress: TrainingProgress, stop: StopRequest) -> None:
        """What is due after `done` steps: validation, a row of the history, a checkpoint, the end."""
        params = self.params.train
        validated: dict[str, float] = {}
        if done % params.val_every == 0 or done == params.steps:
            if self.fabric.device.type == "cuda":
                torch.cuda.synchronize(self.fabric.device)  # else its time were that of steps still in the queue, too
            with progress.apart():
                validated = self._validate()
        if validated or done % params.log_every == 0:
            self._log(done, validated, progress)
        stopping = self._stopping(stop)
        if done % params.checkpoint_every == 0 or done == params.steps or stopping:
            self._require_finite()
            self._require_finite_weights(done - 1)
            self._save(done)
            if stopping:
                stop.raise_after(done)

    def _stopping(self, stop: StopRequest) -> bool:
        """Whether to end after this step; several processes agree on it, since a signal may reach only some of them."""
        if world() > 1:
            asked = int(gather(torch.tensor([stop.signal or 0], device=self.fabric.device)).max())
            if asked:
                stop.signal = asked
            return asked > 0  # a signal that came in between is for all to see after the next step
        return bool(stop)

    def _gradients(self, batch: Batch, step: int) -> list[dict[str, Tensor]]:
        """Add up the gradients of the parts of a step's batch; for each part, the means over processes to record."""
        parts, records = batch.split(self.params.train.accumulation), []
        for number, part in enumerate(parts, start=1):
            with self.fabric.no_backward_sync(self.wrapped, enabled=number < len(parts)):
                losses = self.wrapped(part, step)
                self.fabric.backward(losses.total / len(parts))
            records.append(mean_record(losses.record))
        return records

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
        if rank() == 0:
            progress.show(row)
        for figure, values in self.method.class_figures().items():
            row |= {f"{figure}_{name}": v for name, v in zip(self.info.classes, values.tolist(), strict=True)}
        self._require_finite()
        if validated and validated["val_miou_head_1"] > self.best["miou"]:
            self.best = {"miou": validated["val_miou_head_1"], "step": step}
            if rank() == 0:
                save_segmenter(self._best_at(step), self.method.segmenter, self._facts(step))
        self._write_live()

    def _require_finite(self) -> None:
        """Before anything is written that a later start would go on from."""
        self._stop_at(self.watch.first_nonfinite())

    def _require_finite_weights(self, step: int) -> None:
        self._stop_at(None if finite_weights(self.method) else NonFinite(step, {"a weight": math.nan}))

    def _stop_at(self, found: NonFinite | None) -> None:
        """Losses and weights are those of all processes, so all stop; the first one tells of the whole batch."""
        if found is not None:
            whole = StepBatches(
                self.paths.dataset, self.manifest, self.params, self.method.uses_unlabeled, self.method.strong_views
            )
            on_first(lambda: stop_nonfinite(found, whole, self.info, self.run))

    def _write_live(self) -> None:
        """What `dvc exp show` and `dvc plots` read while training runs."""
        if rank() > 0:
            return
        self.history.write(self.paths.history)
        self.history.write_class_figures(self.paths.confidence, self.info.classes)
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
            params={section: asdict(getattr(self.params, section)) for section in TRAINED_WITH},
        )

    def _save(self, step: int) -> None:
        """All processes wait for the first one's file, so that none tells of a checkpoint that could not be written."""
        on_first(lambda: save_checkpoint(self.run / "checkpoint.pt", self._state(step)))
        # One that was killed after its checkpoint may have had another best: on a GPU steps are not repeated exactly.
        needed, self.kept = {self.kept, self.best["step"]}, self.best["step"]
        for file in self.run.glob("best_*.pt") if rank() == 0 else ():
            if file not in {self._best_at(best) for best in needed}:
                file.unlink()

    def _best_at(self, step: float) -> Path:
        return self.run / f"best_{step:.0f}.pt"

    def _state(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of 16-mixed
            "history": self.history.state_dict(),
            "best": self.best,
        }

    def _resume(self) -> int:
        """Load the run's checkpoint; the number of steps that it has behind it, 0 without one."""
        checkpoint = self.run / "checkpoint.pt"
        on_first(lambda: mend_checkpoint(checkpoint))
        state = read_checkpoint(checkpoint)
        step = 0 if state is None else int(state["step"])
        if len({*gather(torch.tensor([step], device=self.fabric.device)).tolist()}) > 1:
            raise UserError(
                f"{self.run}: not all nodes see the same checkpoint; {self.paths.runs} must be shared by all."
            )
        if rank() == 0:
            tell(f"run {self.run.name}: {f'going on after step {step}' if state else 'training from the start'}")
        if state is None:
            return 0
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.history.load_state_dict(state["history"])
        self.best = state["best"]
        self.kept = self.best["step"]
        if self.kept and on_first(lambda: not is_segmenter(self._best_at(self.kept))):
            self._replace_best(step)
        # DVC deletes a stage's outputs before it starts the stage again.
        if self.history.rows:
            self._write_live()
        return step

    def _replace_best(self, step: int) -> None:
        """What is being trained stands in for a best segmenter that is lost: no reason to lose the run as well."""
        self.best = {"miou": self._validate()["val_miou_head_1"], "step": step}
        if rank() == 0:
            tell(f"warning: {self._best_at(self.kept)} is damaged or gone; the best is sought anew from step {step} on")
            save_segmenter(self._best_at(step), self.method.segmenter, self._facts(step))

    def _tell_speed(self, progress: TrainingProgress) -> None:
        """Say, and keep with the run, how fast this was; not in what dvc.lock holds, which must not change with it."""
        device, speed = self.fabric.device, progress.speed(self.params.train.steps)
        line = (
            "trained {steps} steps: {images_per_second} images/s, {waiting_for_data:.1%} of the time waiting for data"
        )
        if device.type == "cuda":
            peaks = gather(torch.tensor([torch.cuda.max_memory_allocated(device)], device=device))
            speed["peak_gpu_bytes"] = int(peaks.max())  # of the fullest one
            line += f", at most {speed['peak_gpu_bytes'] / 2**30:.2f} GiB of a GPU"
        if rank() == 0:
            tell(line.format(**speed))
            write_json(self.run / "speed.json", speed)

    def _publish(self) -> None:
        """Put the final and the best segmenter where the next stages look for them."""
        if rank() > 0:
            return
        save_segmenter(self.paths.final, self.method.segmenter, self._facts(self.params.train.steps))
        # What the run's file tells beside the weights is of then: colours do not make another run.
        best, facts = load_segmenter(self._best_at(self.best["step"]))
        save_segmenter(self.paths.best, best, self._facts(facts.step))
