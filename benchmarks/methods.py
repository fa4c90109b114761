"""What a training step costs by method: `python benchmarks/methods.py [METHOD ...] [--params presets/camvid.yaml]`.

A METHOD may bring values of its own: `python benchmarks/methods.py supervised "ucc train.batch_unlabeled=8"`. Each
takes steps in turn on noise: past the supervised warm-up, with loss, gradients and SGD, without loading data.
Prints the median of the seconds of a step, and of the ratio to the first method's in the same round.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch.optim import SGD

from ucc.config import Params
from ucc.data.batch import Batch, LabeledBatch, UnlabeledBatch
from ucc.methods import Method, build_method
from ucc.optimizer import parameter_groups
from ucc.params import load_params

ALL = ("supervised", "mean_teacher", "cct", "gct", "cps", "ucc")
PIXELS = 256


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=ALL, metavar="METHOD", help="name, or 'name key=value ...'")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = {text: Step(params_of(text, arguments.params), arguments.classes, device) for text in arguments.methods}
    for step in steps.values():
        step.seconds()  # the first one chooses kernels and fills the optimiser's state
    rounds = [{text: step.seconds() for text, step in steps.items()} for _ in range(arguments.rounds)]
    first, *_ = steps
    width = max(map(len, steps))
    print(f"{'':<{width}} {'seconds a step':>15} {f'of {first}':>15}")
    for text in steps:
        seconds = median(times[text] for times in rounds)
        ratio = median(times[text] / times[first] for times in rounds)
        print(f"{text:<{width}} {seconds:>15.3f} {ratio:>15.2f}")


def params_of(text: str, file: Path) -> Params:
    """The parameters of a method with values of its own; its images count from the first step on."""
    name, *overrides = text.split()
    schedule = ("train.supervised_warmup=0", "train.unsup_rampup=0")
    return load_params(file, ["model.weights=none", *schedule, f"method.name={name}", *overrides])


class Step:
    """A method, ready to take one step after another on the same batch."""

    def __init__(self, params: Params, classes: int, device: torch.device) -> None:
        self.device = device
        self.method: Method = build_method(params, classes).to(device).train()
        self.optimizer = SGD(parameter_groups(self.method, params.train), lr=0.0, momentum=params.train.momentum)
        self.batch = noise(params, classes, self.method).to(device)

    def seconds(self) -> float:
        """How long one step takes, by the clock."""
        self._wait()
        start = perf_counter()
        self.optimizer.zero_grad()
        self.method(self.batch, 0).total.backward()
        self.optimizer.step()
        self._wait()
        return perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def noise(params: Params, classes: int, method: Method) -> Batch:
    """A global batch in the shapes that the trainer makes."""
    random = torch.Generator().manual_seed(0)
    height, width = params.views.crop
    count, views = params.train.batch_labeled, min(method.strong_views, 1 + params.views.strong_per_head)
    labeled = LabeledBatch(
        slots=torch.arange(count),
        images=torch.randint(PIXELS, (count, 3, height, width), generator=random, dtype=torch.uint8),
        masks=torch.randint(classes, (count, height, width), generator=random),
    )
    if not method.uses_unlabeled:
        return Batch(labeled, None)
    count = params.train.batch_unlabeled
    unlabeled = UnlabeledBatch(
        slots=torch.arange(count),
        weak=torch.randint(PIXELS, (count, 3, height, width), generator=random, dtype=torch.uint8),
        weak_valid=torch.ones(count, height, width, dtype=torch.bool),
        strong=torch.randint(PIXELS, (views, count, 3, height, width), generator=random, dtype=torch.uint8),
        strong_valid=torch.ones(views, count, height, width, dtype=torch.bool),
    )
    return Batch(labeled, unlabeled)


if __name__ == "__main__":
    main()
