"""Early stopping: end a run when a validation metric no longer improves."""

from __future__ import annotations

import math
from typing import Any

from mmengine.hooks import Hook

from openmix.errors import InputError, check_choice, check_number, nearest
from openmix.metrics import lower_is_better
from openmix.registry import HOOKS

_STATE = 'early_stopping'


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """End training after a number of consecutive validations that did not improve a metric.

    The count and the best value are saved in the checkpoint, so a resumed run ends where an uninterrupted one does. A
    run that ended early ends at the same place when it is resumed.

    *Differs from mmengine*: the metric's name decides whether lower or higher is better, as everywhere in openmix; a
    metric that is not measured is an error; and the state survives a resume.

    Args:
        monitor: the metric, such as 'accuracy/top1'.
        rule: 'greater' or 'less' is better; None: see `openmix.metrics.lower_is_better`.
        min_delta: smallest change that counts as an improvement, in units of the metric.
        patience: number of consecutive validations without improvement after which the run ends.
        stopping_threshold: end at once when the metric reaches this value; None: no threshold.
        check_finite: end at once when the metric is not finite.

    Raises:
        InputError: an argument is out of range; during training, a validation did not measure the metric.
    """

    # Runs after the CheckpointHook, so that `save_best` applies to the last validation too.
    priority = 'LOWEST'

    def __init__(
        self,
        monitor: str,
        rule: str | None = None,
        min_delta: float = 0.1,
        patience: int = 5,
        stopping_threshold: float | None = None,
        check_finite: bool = True,
    ) -> None:
        if rule is not None:
            check_choice('EarlyStoppingHook: rule', rule, ('greater', 'less'))
        check_number('EarlyStoppingHook: min_delta', min_delta, 0.0)
        check_number('EarlyStoppingHook: patience', patience, 1)
        if stopping_threshold is not None:
            check_number('EarlyStoppingHook: stopping_threshold', stopping_threshold)
        self.monitor, self.min_delta, self.patience = monitor, min_delta, patience
        self.stopping_threshold, self.check_finite = stopping_threshold, check_finite
        lower = lower_is_better(monitor) if rule is None else rule == 'less'
        # Multiplied by this, larger values are better.
        self.sign = -1.0 if lower else 1.0

    def before_train(self, runner: Any) -> None:
        state = runner.message_hub.runtime_info.get(f'{_STATE}/{self.monitor}')
        if state is not None and state['iter'] == runner.iter:
            self._end_if_due(runner, state)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        metrics = metrics or {}
        if self.monitor not in metrics:
            raise InputError(
                f"EarlyStoppingHook: no metric '{self.monitor}' was measured; {nearest(self.monitor, metrics)}"
            )
        value = float(metrics[self.monitor])
        before = runner.message_hub.runtime_info.get(f'{_STATE}/{self.monitor}')
        first = before is None or not math.isfinite(before['best'])
        improved = first or self.sign * (value - before['best']) >= self.min_delta
        state = {
            'iter': runner.iter,
            'value': value,
            'best': value if improved else before['best'],
            'waited': 0 if improved else before['waited'] + 1,
        }
        runner.message_hub.update_info(f'{_STATE}/{self.monitor}', state)
        self._end_if_due(runner, state)

    def _end_if_due(self, runner: Any, state: dict[str, float]) -> None:
        value, enough = state['value'], self.stopping_threshold
        if self.check_finite and not math.isfinite(value):
            why = f'it is {value}'
        elif enough is not None and self.sign * (value - enough) >= 0:
            why = f'{value:.4f} has reached {enough:g}'
        elif state['waited'] >= self.patience:
            why = f'{state["waited"]} validations in a row did not improve on {state["best"]:.4f}'
        else:
            return
        runner.train_loop.stop_training = True
        runner.logger.info(f'Training ends early by {self.monitor}: {why}')
