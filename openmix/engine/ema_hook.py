"""The moving average (EMA) of a run's weights, evaluated beside the raw weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook as MMEMAHook
from mmengine.model import ExponentialMovingAverage as MMExponentialMovingAverage
from mmengine.runner.amp import autocast
from torch import nn

from openmix.engine.buffers import take_rank_zero_buffers
from openmix.errors import InputError, check_number
from openmix.registry import HOOKS, MODELS


@MODELS.register_module()
class ExponentialMovingAverage(MMExponentialMovingAverage):
    """mmengine's moving average, with one fused update instead of one per parameter. For arguments, see mmengine."""

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average from a model, in place; the first call copies the model."""
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
    """mmengine's EMA hook, which validates the averaged weights; this one also measures the raw weights.

    `accuracy/top1` is that of the average, `accuracy/raw/top1` that of the raw weights. This costs a second forward
    pass per validation batch.

    The average is updated after every step of the optimiser; it is not updated within an accumulation, nor after a
    step that is skipped because float16 gradients overflow.

    Arguments are those of `mmengine.hooks.EMAHook`: `momentum` is the weight of the new value in an update, and
    `interval` the number of steps between updates. `begin_iter` counts iterations and `begin_epoch` epochs, from 1;
    before that the average equals the model.

    Raises:
        InputError: a number is out of range, or the average would begin after the end of the run.
    """

    def __init__(
        self,
        ema_type: str = 'ExponentialMovingAverage',
        strict_load: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(ema_type, strict_load, begin_iter, begin_epoch, **kwargs)
        check_number('EMAHook: interval', kwargs.get('interval', 1), 1)

    def before_run(self, runner: Any) -> None:
        super().before_run(runner)
        self._of_raw: Sequence[BaseMetric] = ()
        self._stepped = False

    def before_train(self, runner: Any) -> None:
        for name, begin, end in (
            ('begin_epoch', self.begin_epoch, runner.max_epochs),
            ('begin_iter', self.begin_iter, runner.planned_iters),
        ):
            if begin > end:
                raise InputError(f'EMAHook: {name} must be <= {end}, where the run ends, got {begin}')
        runner.optim_wrapper.optimizer.register_step_post_hook(self._note_step)

    def _note_step(self, *_: Any) -> None:
        self._stepped = True

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if self._stepped or not self._ema_started(runner):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._stepped = False

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        self._take_statistics()
        super().before_save_checkpoint(runner, checkpoint)

    def _take_statistics(self) -> None:
        """Copy the model's buffers to the average, because they may have changed since its last update."""
        if not self.ema_model.update_buffers:
            for own, of_model in zip(self.ema_model.module.buffers(), self.src_model.buffers(), strict=True):
                own.copy_(of_model)

    def before_val_epoch(self, runner: Any) -> None:
        super().before_val_epoch(runner)
        # The weights are swapped: until the end of the validation the copy holds the raw weights. The model keeps its
        # batch-norm statistics, which are saved with the raw weights.
        self._take_statistics()
        raw = self.ema_model.module
        take_rank_zero_buffers(raw)
        raw.eval()
        self._of_raw = copy.deepcopy(runner.val_evaluator.metrics)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        raw = self.ema_model.module
        with autocast(enabled=runner.val_loop.fp16):
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
