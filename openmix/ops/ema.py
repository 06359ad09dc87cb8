"""Exponential moving averages (EMA) of a module's parameters."""

from __future__ import annotations

import copy

import torch
from torch import nn


def frozen_copy(module: nn.Module) -> nn.Module:
    """Copy a module and freeze the copy's parameters; gradients still flow through it to its input."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, momentum: float) -> None:
    """Update every parameter of `average` in place to momentum * old + (1 - momentum) * new.

    Buffers are left alone: a momentum encoder keeps its own batch-norm statistics.

    Args:
        average: the moving average; a copy of `module`.
        module: the module that it averages over time.
        momentum: weight of the *old* value, in [0, 1]; mmengine's `momentum` is the weight of the new one.
    """
    new = dict(module.named_parameters())
    old = dict(average.named_parameters())
    torch._foreach_lerp_(list(old.values()), [new[name].to(value.dtype) for name, value in old.items()], 1 - momentum)
