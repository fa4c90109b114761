"""UGRM, uncertainty guided re-weighting of the pseudo labels (Eqs. 7-10 of the paper)."""

import torch
from torch import Tensor


def reweight(confidence_1: Tensor, confidence_2: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """Weights (u_1, u_2) of the pixels that head 1 and head 2 teach.

    Args:
        confidence_1: w_1 = max_c p_1 on the weak view, (B, H, W) (Eqs. 7-8).
        confidence_2: w_2, likewise.
        rule: `confident_teacher`: u_m = w_m where head m is the more certain one, else 0, a tie counting for both
            (decisions A, B). `as_printed`: Eqs. 9-10 literally, u_m = w_m where the peer is at least as certain.
            `none`: every pixel counts 1.
    """
    if rule == "none":
        return torch.ones_like(confidence_1), torch.ones_like(confidence_2)
    # The weights multiply float32 losses; the ties of half-precision logits are avoided by Segmenter.decode.
    w_1, w_2 = confidence_1.float(), confidence_2.float()
    if rule == "as_printed":
        return w_1 * (w_1 <= w_2), w_2 * (w_2 <= w_1)
    if rule == "confident_teacher":
        return w_1 * (w_1 >= w_2), w_2 * (w_2 >= w_1)
    raise ValueError(f"no rule {rule!r}")
