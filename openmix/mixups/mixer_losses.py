"""The losses that train a mixer through a momentum encoder, with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from openmix.errors import InputError, brief, check_number
from openmix.mix import Mix
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.registry import LOSSES

# Gradients at the mask are multiplied by it for a while: small ones would underflow in float16.
_SCALE = 2.0**10

Loss = Callable[[Tensor, Tensor, Mix], Tensor]


def build_losses(where: str, losses: Sequence[dict]) -> list[tuple[Loss, float]]:
    """Build the losses of a list of registry dicts; return each with its `weight`, 1 by default.

    Args:
        where: class and argument for the message.
        losses: registry dicts of losses `f(logits, y, mix)`.

    Raises:
        InputError: the list is empty or holds something else, or a loss or weight is wrong.
    """
    if isinstance(losses, str) or not isinstance(losses, Sequence) or not losses:
        raise InputError(f"{where} must be a list such as [dict(type='mix_ce')], got {brief(losses)}")
    found = []
    for loss in losses:
        if not isinstance(loss, Mapping):
            raise InputError(f"{where} must be a list such as [dict(type='mix_ce')], got {brief(loss)} in it")
        given = dict(loss)
        weight = given.pop('weight', 1.0)
        check_number(f'{where}: weight', weight, 0.0)
        found.append((LOSSES.build(given), weight))
    return found


@torch.enable_grad()
def loss_and_slope(
    losses: Sequence[tuple[Loss, float]], encoder: MomentumEncoder, x: Tensor, y: Tensor, mix: Mix
) -> tuple[Tensor, Tensor]:
    """Compute the weighted sum of losses of the momentum encoder's logits for a mixed batch, and its slope at the mask.

    The backward pass runs at once, so that the encoder's activations are freed before the classifier's are made.

    Args:
        losses: see `build_losses`.
        encoder: the momentum encoder; its head 'head' gives the logits.
        x: (N, 3, H, W) clean images.
        y: (N,) int64.
        mix: how the batch is mixed, with a mask (N, 1, H, W).

    Returns:
        scalar loss, detached, and its gradient (N, 1, H, W) at the mask.
    """
    mask = cast(Tensor, mix.mask).detach().requires_grad_()
    mix = replace(mix, mask=mask)
    logits = encoder(mix.blend(x))
    first, *others = (weight * loss(logits, y, mix) for loss, weight in losses)
    total = sum(others, first)
    (slope,) = torch.autograd.grad(total * _SCALE, mask)
    return total.detach(), slope / _SCALE
