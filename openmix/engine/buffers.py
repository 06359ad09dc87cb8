"""Broadcast buffers, so that every rank validates the networks that rank 0 saves."""

from __future__ import annotations

from typing import Any

from mmengine.dist import broadcast, is_distributed
from mmengine.hooks import Hook
from torch import nn

from openmix.memory import equal_buffers
from openmix.registry import HOOKS


def take_rank_zero_buffers(network: nn.Module) -> None:
    """Replace a network's buffers by those of rank 0, in place; every rank must call it."""
    if is_distributed():
        equal = equal_buffers(network)
        for name, buffer in network.named_buffers():
            if name not in equal:
                broadcast(buffer)


@HOOKS.register_module()
class RankZeroBuffersHook(Hook):
    """Broadcast rank 0's buffers of the model before validation.

    DDP broadcasts them at the start of a training step, so after the last step the ranks' batch-norm
    statistics differ, and each rank would evaluate its share of the data with another model. A hook that
    validates another network must call `take_rank_zero_buffers` for it.
    """

    # Runs after the EMAHook has swapped the averaged weights into the model.
    priority = 'LOW'

    def before_val_epoch(self, runner: Any) -> None:
        take_rank_zero_buffers(runner.model)
