"""Copy the outputs of training steps to the CPU only when they are logged, to avoid a GPU sync in every step."""

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
    """Store scalars of many iterations on their device, and copy them to the CPU in one transfer."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, list[str], Tensor]] = []

    def add(self, iteration: int, outputs: Mapping[str, Any]) -> None:
        """Store the outputs of an iteration."""
        values = [torch.as_tensor(value).detach().double().mean() for value in outputs.values()]
        if values:
            self._kept.append((iteration, list(outputs), torch.stack(values)))

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """Return (iteration, values by name) of everything stored, oldest first, and clear the store."""
        kept, self._kept = self._kept, []
        numbers = iter(torch.cat([values for *_, values in kept]).tolist() if kept else [])
        return [(iteration, {name: next(numbers) for name in names}) for iteration, names, _ in kept]


class ReadBackHook(Hook):
    """Call `take` with the outputs of training iterations, delayed on a GPU to avoid GPU syncs.

    On the CPU it is called after every iteration. On a GPU it is called for all iterations so far when the LoggerHook
    logs, at the end of an epoch, and before a validation or a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held = HeldBack()

    def take(self, runner: Any, iteration: int, values: Mapping[str, float]) -> None:
        """Process the outputs of an iteration, counted from 0."""
        raise NotImplementedError

    def read_back(self, runner: Any) -> None:
        """Call `take` for all stored iterations; the runner calls this before it saves a checkpoint."""
        for iteration, values in self._held.read():
            self.take(runner, iteration, values)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self._held.add(runner.iter, outputs or {})
        if self.is_looked_at(runner, batch_idx, outputs or {}):
            self.read_back(runner)

    def is_looked_at(self, runner: Any, batch_idx: int, outputs: Mapping[str, Any]) -> bool:
        """Return true if the outputs must be read after this iteration."""
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
    """mmengine's hook, which records the losses of every iteration, without a GPU sync per iteration."""

    def take(self, runner: Any, iteration: int, values: Mapping[str, float]) -> None:
        measures.add(runner, values)

    def before_val(self, runner: Any) -> None:
        super().before_val(runner)
        MMRuntimeInfoHook.before_val(self, runner)

    def after_train(self, runner: Any) -> None:
        super().after_train(runner)
        MMRuntimeInfoHook.after_train(self, runner)
