"""What the optimiser is given: groups of parameters with rates of their own, and their decay over training."""

from typing import Any

from torch import Tensor, nn
from torch.optim import SGD

from ucc.config import TrainParams


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
