"""Rates and decay of encoder and heads."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ucc.config import Params
from ucc.optimizer import parameter_groups, set_learning_rate

LoadParams = Callable[..., Params]


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))])
        self.heads = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)])


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.segmenter = TwoParts()


@pytest.mark.parametrize("power", [0.9, 0.5])
def test_heads_learn_at_their_own_rate_by_the_polynomial_schedule(power: float, tiny_params: LoadParams) -> None:
    changes = ("train.lr=0.1", "train.head_lr_multiplier=10", "train.steps=100", f"train.poly_power={power}")
    params = tiny_params(*changes).train
    model = Whole()
    optimizer = torch.optim.SGD(parameter_groups(model, params))
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for step in (0, 1, 50, 99):
        set_learning_rate(optimizer, params, step)
        for name, parameter in model.named_parameters():
            base = 0.1 if "encoder" in name else 1.0
            assert of[id(parameter)]["lr"] == pytest.approx(base * (1 - step / 100) ** power)


def test_only_weights_of_convolutions_decay_and_each_parameter_is_in_one_group(tiny_params: LoadParams) -> None:
    model = Whole()
    groups = parameter_groups(model, tiny_params("train.weight_decay=5.0e-4").train)
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(decays) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        convolution = name.endswith("weight") and not name.startswith("segmenter.encoders.0.1")
        assert decays[id(parameter)] == (5e-4 if convolution else 0.0)
