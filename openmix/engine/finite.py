"""End training when a loss is nan or infinite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openmix.engine.checkpoint_folder import last_good
from openmix.engine.read_back import ReadBackHook
from openmix.errors import InputError
from openmix.metrics import is_loss
from openmix.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(ReadBackHook):
    """End training after the first iteration whose loss is nan or infinite, before anything is saved.

    On a GPU this is detected when losses are next copied to the CPU, see `ReadBackHook`.

    Raises:
        InputError: a loss is not finite; the line names the iteration and the last good checkpoint.
    """

    priority = 'LOW'

    def take(self, runner: Any, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if is_loss(name) and not math.isfinite(value):
                epoch = iteration // len(runner.train_dataloader)
                raise InputError(
                    f'{name} became {value} at iteration {iteration + 1} (epoch {epoch + 1}); '
                    f'{last_good(Path(runner.work_dir))}; '
                    'a lower learning rate, gradient clipping or float32 usually helps'
                )
