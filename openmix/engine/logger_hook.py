"""The hook that writes a run's log lines and its curves for TensorBoard."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from openmix.engine import measures
from openmix.errors import check_number
from openmix.registry import HOOKS


@HOOKS.register_module()
class LoggerHook(Hook):
    """Log training at an interval and at each line of `metrics.jsonl`, and log every validation.

    The same numbers go to the visualizer's backends under `train/` and `val/`, by iteration, with the `epoch` beside
    them; `openmix.engine.measures` defines them.

    Args:
        interval: iterations between two lines, counted within the epoch.

    Raises:
        InputError: `interval` is below 1.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 50) -> None:
        check_number('LoggerHook: interval', interval, 1)
        self.interval = interval
        self._logged = 0

    def before_train(self, runner: Any) -> None:
        self._logged = 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._log_training(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Any) -> None:
        self._log_training(runner, runner.iter)

    def after_interval(self, runner: Any) -> None:
        self._log_training(runner, runner.iter)

    def before_val(self, runner: Any) -> None:
        self._log_training(runner, runner.iter)

    def _log_training(self, runner: Any, iterations: int) -> None:
        """Log the training at an iteration, once."""
        found = measures.outputs(runner, iterations)
        if iterations == self._logged or not found:
            return
        self._logged = iterations
        words = [
            f'iteration {iterations}/{runner.max_iters}',
            *(f'{name} {value:.4f}' for name, value in found.items()),
        ]
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            words.insert(0, f'epoch {-(-iterations // len(runner.train_dataloader))}/{runner.max_epochs}')
        lr, seconds = measures.learning_rate(runner), measures.times(runner, iterations)
        words.append(f'lr {lr:.4g}')
        if seconds:
            left = datetime.timedelta(seconds=int(runner.message_hub.runtime_info.get('eta', 0)))
            words.append(f'{seconds["time"]:.3f} s an iteration (data {seconds["data_time"]:.3f}), left {left}')
        found |= {'lr': lr, **seconds}
        if torch.cuda.is_available():
            found['gpu_mib'] = torch.cuda.max_memory_allocated() / 2**20
            words.append(f'{found["gpu_mib"]:.0f} MiB')
        runner.logger.info('  '.join(words))
        _record(runner, 'train', found, iterations)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        found = {name: float(value) for name, value in (metrics or {}).items()}
        iterations = runner.iter
        runner.logger.info(_line(f'validation  iteration {iterations}/{runner.max_iters}', found))
        _record(runner, 'val', found, iterations)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.every_n_inner_iters(batch_idx, self.interval):
            runner.logger.info(f'test  batch {batch_idx + 1}/{len(runner.test_dataloader)}')

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        runner.logger.info(_line('test', {name: float(value) for name, value in (metrics or {}).items()}))

    def after_run(self, runner: Any) -> None:
        runner.visualizer.close()


def _record(runner: Any, part: str, found: Mapping[str, float], iterations: int) -> None:
    """Give numbers of an iteration to the visualizer's backends, with the epoch that trackers may draw them over."""
    epoch = iterations / len(runner.train_dataloader)
    numbers = {f'{part}/{name}': value for name, value in found.items()}
    runner.visualizer.add_scalars({'epoch': epoch, **numbers}, step=iterations)


def _line(start: str, found: dict[str, float]) -> str:
    return '  '.join([start, *(f'{name} {value:.4f}' for name, value in found.items())])
