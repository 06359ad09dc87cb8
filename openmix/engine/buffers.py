"""Every rank validates the networks that rank 0 saves."""

from __future__ import annotations

from typing import Any

from mmengine.dist import broadcast, is_distributed
from mmengine.hooks import Hook
from torch import nn

from openmix.registry import HOOKS


def take_rank_zero_buffers(network: nn.Module) -> None:
    """Replace a network's buffers by those of rank 0, in place; every rank calls it."""
    if is_distributed():
        for buffer in network.buffers():
            broadcast(buffer)


@HOOKS.register_module()
class RankZeroBuffersHook(Hook):
    """Broadcasts rank 0's buffers of the model, with all networks in it, before validation.

    DDP does so at the start of a training step, so after the last one the ranks' batch-norm
    statistics differ and each would score its share of the data with another model. What a hook
    validates beside the model, it gives rank 0's buffers itself, see `take_rank_zero_buffers`.
    """

    # After the EMAHook has put the average, and where asked its buffers, in the model's place.
    priority = 'LOW'

    def before_val_epoch(self, runner: Any) -> None:
        take_rank_zero_buffers(runner.model)
