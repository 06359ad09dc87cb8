"""What the losses share: precision, and a `Mix` read as dense label shares."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.mix import Mix


def at_least_float32(logits: Tensor) -> Tensor:
    """`logits`, raised to float32 where the type is narrower."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def label_shares(like: Tensor, y: Tensor, mix: Mix) -> Tensor:
    """(N, C) share of every class in the mixed samples, in [0, 1]; shares of one class add up.

    Args:
        like: (N, C), gives shape and dtype.
        y: (M,) int64 labels of the un-mixed batch, or (M, C) class probabilities.
    """
    weight = mix.weight.to(like.dtype)
    if y.dim() == 2:
        return torch.einsum('nk,nkc->nc', weight, y.to(like.dtype)[mix.source])
    return torch.zeros_like(like).scatter_add_(1, y[mix.source], weight)
