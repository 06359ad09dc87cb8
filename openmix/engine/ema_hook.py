"""The moving average of a run's weights, judged beside the raw ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook as MMEMAHook
from mmengine.model import ExponentialMovingAverage as MMExponentialMovingAverage
from torch import nn

from openmix.registry import HOOKS, MODELS


@MODELS.register_module()
class ExponentialMovingAverage(MMExponentialMovingAverage):
    """mmengine's average of a model, all of it moved by one call instead of one a parameter. Arguments: see there."""

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards a model, in place; the first time it becomes the model."""
        if self.steps == 0 or self.steps % self.interval:
            super().update_parameters(model)
            return
        new = model.state_dict() if self.update_buffers else dict(model.named_parameters())
        names = [name for name, average in self.avg_parameters.items() if average.is_floating_point()]
        old = [self.avg_parameters[name] for name in names]
        torch._foreach_lerp_(old, [new[name].to(kept.device) for name, kept in zip(names, old)], self.momentum)
        if not self.update_buffers and (kept := list(self.module.buffers())):
            torch._foreach_copy_(kept, list(model.buffers()))
        self.steps += 1


@HOOKS.register_module()
class EMAHook(MMEMAHook):
    """mmengine's hook, which validates the average, and the same metrics of the raw weights beside it.

    `accuracy/top1` is the average's, `accuracy/raw/top1` that of the weights in training, from one more
    forward pass a validation batch. Arguments: see `mmengine.hooks.EMAHook`; its `momentum` is the share
    of the new value.
    """

    def before_run(self, runner: Any) -> None:
        super().before_run(runner)
        self._of_raw: Sequence[BaseMetric] = ()

    def before_val_epoch(self, runner: Any) -> None:
        super().before_val_epoch(runner)
        # The weights are swapped: from here to the end of the validation the copy holds the raw ones.
        self.ema_model.module.eval()
        self._of_raw = copy.deepcopy(runner.val_evaluator.metrics)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        raw = self.ema_model.module
        predicted = raw(**raw.data_preprocessor(data_batch, False), mode='predict')
        for metric in self._of_raw:
            metric.process(data_batch, predicted)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        super().after_val_epoch(runner, metrics)
        if metrics is None:
            return
        for metric in self._of_raw:
            for name, value in metric.evaluate(len(runner.val_dataloader.dataset)).items():
                prefix, _, own = name.rpartition('/')
                metrics[f'{prefix}/raw/{own}'] = value
                # The hook that logs validations had its turn.
                runner.message_hub.update_scalar(f'val/{prefix}/raw/{own}', value)
