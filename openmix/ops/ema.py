"""Copies that follow a module as an exponential moving average."""

from __future__ import annotations

import copy

import torch
from torch import nn


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters get no gradient; gradients still pass through it to its input."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, momentum: float) -> None:
    """Move every parameter of `average` in place to momentum * old + (1 - momentum) * new.

    Parameters only: a momentum encoder keeps batch-norm statistics of its own.

    Args:
        average: what moves; a copy of `module`.
        module: what it follows.
        momentum: share of the *old* value, in [0, 1]; mmengine's means the new one.
    """
    new = dict(module.named_parameters())
    old = dict(average.named_parameters())
    torch._foreach_lerp_(list(old.values()), [new[name].to(value.dtype) for name, value in old.items()], 1 - momentum)
