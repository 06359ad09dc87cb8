"""Stop when the loss is no number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from openmix.engine.checkpoint import last_good
from openmix.errors import InputError
from openmix.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends training at the first iteration whose loss is nan or infinite, before anything is saved.

    Raises:
        InputError: naming the iteration and the last good checkpoint.
    """

    priority = 'LOW'

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        for name in outputs or {}:
            # Read back from the log: the number is on the host already.
            value = runner.message_hub.get_scalar(f'train/{name}').current()
            if not math.isfinite(value):
                raise InputError(
                    f'{name} became {value} at iteration {runner.iter + 1} (epoch {runner.epoch + 1}); '
                    f'{last_good(Path(runner.work_dir))}; '
                    'a lower learning rate, gradient clipping or float32 usually helps'
                )
