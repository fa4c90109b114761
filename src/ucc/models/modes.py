"""How modules behave for the length of a block: as in evaluation, or without touching BatchNorm's averages."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode; afterwards each is back in the mode it had before."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def untracked_batchnorm(module: nn.Module) -> Iterator[None]:
    """Normalise by the batch as in training, but leave the running statistics as they are."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
