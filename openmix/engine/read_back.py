"""Outputs of a step are read back from the device when they are logged, not every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.hooks import RuntimeInfoHook as MMRuntimeInfoHook
from torch import Tensor

from openmix.engine import measures
from openmix.engine.logger_hook import LoggerHook
from openmix.registry import HOOKS


class HeldBack:
    """Scalars of many iterations, left on their device until they are read in one transfer."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, list[str], Tensor]] = []

    def add(self, iteration: int, outputs: Mapping[str, Any]) -> None:
        """Keep what an iteration put out."""
        values = [torch.as_tensor(value).detach().double().mean() for value in outputs.values()]
        if values:
            self._kept.append((iteration, list(outputs), torch.stack(values)))

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """(iteration, values by name) of all that was kept, oldest first, which is then forgotten."""
        kept, self._kept = self._kept, []
        numbers = iter(torch.cat([values for *_, values in kept]).tolist() if kept else [])
        return [(iteration, {name: next(numbers) for name in names}) for iteration, names, _ in kept]


class ReadBackHook(Hook):
    """Hands the outputs of the training iterations to `take`, later.

    On the CPU at once. Of a GPU, which would have to finish its queue first, where the LoggerHook looks, at the
    end of an epoch, and before a validation or a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held = HeldBack()

    def take(self, runner: Any, iteration: int, values: Mapping[str, float]) -> None:
        """Use what iteration number `iteration`, from 0, put out."""
        raise NotImplementedError

    def read_back(self, runner: Any) -> None:
        """Hand over all that is held; the runner calls it before it puts a checkpoint together."""
        for iteration, values in self._held.read():
            self.take(runner, iteration, values)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self._held.add(runner.iter, outputs or {})
        if self.is_looked_at(runner, batch_idx, outputs or {}):
            self.read_back(runner)

    def is_looked_at(self, runner: Any, batch_idx: int, outputs: Mapping[str, Any]) -> bool:
        """True if this iteration's outputs are to be read now."""
        if not any(isinstance(value, Tensor) and value.is_cuda for value in outputs.values()):
            return True
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        looks = any(self.every_n_inner_iters(batch_idx, hook.interval) for hook in loggers)
        return looks or self.end_of_epoch(runner.train_dataloader, batch_idx)

    def after_train_epoch(self, runner: Any) -> None:
        self.read_back(runner)

    def after_interval(self, runner: Any) -> None:
        self.read_back(runner)

    def before_val(self, runner: Any) -> None:
        self.read_back(runner)

    def after_train(self, runner: Any) -> None:
        self.read_back(runner)


@HOOKS.register_module()
class RuntimeInfoHook(ReadBackHook, MMRuntimeInfoHook):
    """mmengine's hook, which logs every loss of every iteration, without waiting for the device at each."""

    def take(self, runner: Any, iteration: int, values: Mapping[str, float]) -> None:
        measures.add(runner, values)

    def before_val(self, runner: Any) -> None:
        super().before_val(runner)
        MMRuntimeInfoHook.before_val(self, runner)

    def after_train(self, runner: Any) -> None:
        super().after_train(runner)
        MMRuntimeInfoHook.after_train(self, runner)
