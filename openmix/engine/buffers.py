"""Every rank validates the model that rank 0 saves."""

from __future__ import annotations

from typing import Any

from mmengine.dist import broadcast, is_distributed
from mmengine.hooks import Hook

from openmix.registry import HOOKS


@HOOKS.register_module()
class RankZeroBuffersHook(Hook):
    """Broadcasts rank 0's buffers before validation.

    DDP does so at the start of a training step, so after the last one the ranks' batch-norm
    statistics differ and each would score its share of the data with another model.
    """

    # After the EMAHook has put the average, and where asked its buffers, in the model's place.
    priority = 'LOW'

    def before_val_epoch(self, runner: Any) -> None:
        if is_distributed():
            for buffer in runner.model.buffers():
                broadcast(buffer)
