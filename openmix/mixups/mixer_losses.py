"""The losses that train a mixer through a momentum encoder, with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from openmix.errors import InputError, brief, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.targets import Target
from openmix.ops.schedules import cosine
from openmix.registry import LOSSES

# Gradients at the mask are multiplied by it for a while: small ones would underflow in float16.
_SCALE = 2.0**10

Loss = Callable[..., Tensor]
SCHEDULES = ('constant', 'cosine')


class MixerLoss(NamedTuple):
    """A loss `f(logits, y, mix)` of a mixer.

    Attributes:
        loss: the loss.
        weight: its weight, at the start of the training.
        target: the name of the target whose logits it reads, see `Target`.
        schedule: of the weight: 'constant', or 'cosine' to zero at the end of the training.
    """

    loss: Loss
    weight: float
    target: str
    schedule: str

    def weight_at(self, progress: float) -> float:
        """Return the weight at a share of the training in [0, 1]."""
        return cosine(self.weight, 0.0, progress) if self.schedule == 'cosine' else self.weight


def build_losses(where: str, losses: Sequence[dict]) -> list[MixerLoss]:
    """Build the losses of a list of registry dicts.

    Args:
        where: class and argument for the message.
        losses: registry dicts of losses `f(logits, y, mix)`. Beside a loss's own options they take `weight` (1 by
            default), `of`, the name of the target (by default 'labels', the logits and the labels of a classifier),
            and `schedule` of the weight ('constant' or 'cosine').

    Raises:
        InputError: the list is empty or holds something else, or a loss, weight, target or schedule is wrong.
    """
    if isinstance(losses, str) or not isinstance(losses, Sequence) or not losses:
        raise InputError(f"{where} must be a list such as [dict(type='mix_ce')], got {brief(losses)}")
    found = []
    for loss in losses:
        if not isinstance(loss, Mapping):
            raise InputError(f"{where} must be a list such as [dict(type='mix_ce')], got {brief(loss)} in it")
        given = dict(loss)
        weight, target = given.pop('weight', 1.0), given.pop('of', 'labels')
        schedule = given.pop('schedule', 'constant')
        check_number(f'{where}: weight', weight, 0.0)
        check_choice(f'{where}: schedule', schedule, SCHEDULES)
        if not isinstance(target, str):
            raise InputError(f"{where}: of must be the name of a target such as 'labels', got {brief(target)}")
        found.append(MixerLoss(LOSSES.build(given), weight, target, schedule))
    return found


@torch.enable_grad()
def loss_and_slope(
    losses: Sequence[MixerLoss],
    targets: Mapping[str, Target],
    backbone: nn.Module,
    x: Tensor,
    mix: Mix,
    progress: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the weighted sum of losses of a mixed batch in a frozen network, and its slope at the mask.

    The backward pass runs at once, so that the network's activations are freed before the classifier's are made.

    Args:
        losses: see `build_losses`.
        targets: by name, what the losses compare the features with.
        backbone: maps (N, 3, H, W) to (N, D); the momentum encoder's.
        x: (M, 3, H, W) clean images.
        mix: how the batch is mixed, with a mask (N, 1, H, W).
        progress: share of the training that has passed, in [0, 1].

    Returns:
        scalar loss, detached, and its gradient (N, 1, H, W) at the mask.
    """
    mask = cast(Tensor, mix.mask).detach().requires_grad_()
    mix = replace(mix, mask=mask)
    features = backbone(mix.blend(x))
    logits: dict[str, Tensor] = {}
    terms = []
    for one in losses:
        target = targets[one.target]
        if one.target not in logits:
            logits[one.target] = target.logits(features)
        terms.append(one.weight_at(progress) * one.loss(logits[one.target], target.y, mix, **target.options))
    total = sum(terms[1:], terms[0])
    (slope,) = torch.autograd.grad(total * _SCALE, mask)
    return total.detach(), slope / _SCALE
