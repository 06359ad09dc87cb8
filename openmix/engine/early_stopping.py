"""End a run when a metric of the validation does not improve any more."""

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
    """Ends training after a number of validations in a row that did not improve a metric.

    Its count and the best value are in the checkpoint: a resumed run decides as one that was not interrupted. A run
    that ended early ends again where it did when it is resumed.

    *Differs from mmengine*: which way is better follows from the metric's name as everywhere in openmix, a metric
    that is not measured is an error, and the state is kept over a resume.

    Args:
        monitor: the metric, such as 'accuracy/top1'.
        rule: 'greater' or 'less' is better; None: see `openmix.metrics.lower_is_better`.
        min_delta: what counts as an improvement, in units of the metric.
        patience: validations in a row without one, after which the run ends.
        stopping_threshold: a value of the metric that is good enough to end at once; None for none.
        check_finite: end at once when the metric is not finite.

    Raises:
        InputError: an argument out of range; while training, a validation that did not measure the metric.
    """

    # Behind the CheckpointHook, whose `save_best` is due for the last validation too.
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
        # Times this, the best is the largest.
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
