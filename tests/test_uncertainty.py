"""UGRM weights against Eqs. 7-10, pixel by pixel, under every rule (decisions A and B)."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ucc.config import UncertaintyParams
from ucc.uncertainty import reweight

RULES = UncertaintyParams.__dataclass_fields__["rule"].metadata["allowed"]
Floats = NDArray[np.float32]


def slow_weights(w_1: Floats, w_2: Floats, rule: str) -> tuple[Floats, Floats]:
    """u_m = w_m * 1[...], one pixel at a time; a tie counts for both heads."""
    u_1, u_2 = np.zeros_like(w_1), np.zeros_like(w_2)
    for index in np.ndindex(w_1.shape):
        own, peer = w_1[index], w_2[index]
        if rule == "none":
            u_1[index] = u_2[index] = 1
            continue
        if own == peer:
            u_1[index], u_2[index] = own, peer
        elif (own > peer) == (rule == "confident_teacher"):
            u_1[index] = own
        else:
            u_2[index] = peer
    return u_1, u_2


def confidences(seed: int) -> tuple[Floats, Floats]:
    """Two confidence maps (2, 5, 6) in [0.25, 1] with a third of the pixels tied."""
    rng = np.random.default_rng(seed)
    w_1, w_2 = rng.uniform(0.25, 1, (2, 2, 5, 6)).astype(np.float32)
    tied = rng.random(w_1.shape) < 1 / 3
    return w_1, np.where(tied, w_1, w_2)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_weights_follow_the_equations(rule: str, seed: int) -> None:
    w_1, w_2 = confidences(seed)
    u_1, u_2 = reweight(torch.from_numpy(w_1), torch.from_numpy(w_2), rule)
    expected_1, expected_2 = slow_weights(w_1, w_2, rule)
    np.testing.assert_array_equal(u_1.numpy(), expected_1)
    np.testing.assert_array_equal(u_2.numpy(), expected_2)


def test_the_more_certain_head_teaches_and_its_confidence_is_the_weight() -> None:
    u_1, u_2 = reweight(torch.tensor([[[0.9, 0.4]]]), torch.tensor([[[0.6, 0.8]]]), "confident_teacher")
    torch.testing.assert_close(u_1, torch.tensor([[[0.9, 0.0]]]))
    torch.testing.assert_close(u_2, torch.tensor([[[0.0, 0.8]]]))


def test_as_printed_the_less_certain_head_teaches() -> None:
    u_1, u_2 = reweight(torch.tensor([[[0.9, 0.4]]]), torch.tensor([[[0.6, 0.8]]]), "as_printed")
    torch.testing.assert_close(u_1, torch.tensor([[[0.0, 0.4]]]))
    torch.testing.assert_close(u_2, torch.tensor([[[0.6, 0.0]]]))


@pytest.mark.parametrize("rule", RULES)
def test_a_tie_is_dropped_from_neither_term(rule: str) -> None:
    saturated = torch.ones(1, 2, 2)
    u_1, u_2 = reweight(saturated, saturated.clone(), rule)
    assert (u_1 == 1).all()
    assert (u_2 == 1).all()


@pytest.mark.parametrize("rule", ["confident_teacher", "as_printed"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_confidences_give_float32_weights(rule: str, dtype: torch.dtype) -> None:
    w_1, w_2 = (torch.from_numpy(w).to(dtype) for w in confidences(0))
    u_1, u_2 = reweight(w_1, w_2, rule)
    expected = slow_weights(w_1.float().numpy(), w_2.float().numpy(), rule)
    assert u_1.dtype == u_2.dtype == torch.float32
    np.testing.assert_array_equal(u_1.numpy(), expected[0])
    np.testing.assert_array_equal(u_2.numpy(), expected[1])


def test_confidences_that_differ_only_beyond_half_precision_are_no_tie() -> None:
    w_1, w_2 = torch.tensor([[[0.99999]]]), torch.tensor([[[0.99998]]])
    assert w_1.half() == w_2.half()
    u_1, u_2 = reweight(w_1, w_2, "confident_teacher")
    assert u_1.item() > 0
    assert u_2.item() == 0


def test_swapping_the_heads_swaps_the_weights() -> None:
    w_1, w_2 = (torch.from_numpy(w) for w in confidences(1))
    u_1, u_2 = reweight(w_1, w_2, "confident_teacher")
    v_2, v_1 = reweight(w_2, w_1, "confident_teacher")
    assert torch.equal(u_1, v_1)
    assert torch.equal(u_2, v_2)


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="guess"):
        reweight(torch.ones(1, 1, 1), torch.ones(1, 1, 1), "guess")
