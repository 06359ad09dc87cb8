"""The moving average (EMA) of a run's weights, evaluated beside the raw weights."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook as MMEMAHook
from mmengine.model import ExponentialMovingAverage as MMExponentialMovingAverage
from mmengine.runner.amp import autocast
from torch import nn

from openmix.engine.buffers import take_rank_zero_buffers
from openmix.errors import InputError, check_number
from openmix.memory import batch_memories_in, equal_buffers
from openmix.registry import HOOKS, MODELS


@MODELS.register_module()
class ExponentialMovingAverage(MMExponentialMovingAverage):
    """mmengine's moving average, with one fused update instead of one per parameter. For arguments, see mmengine.

    *Differs from mmengine*, whose first update copies the model: it starts from the weights before the first step, as
    the averages of published semi-supervised runs and of timm do.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average from a model, in place."""
        if self.steps % self.interval == 0:
            new = model.state_dict() if self.update_buffers else dict(model.named_parameters())
            averaged = {name: kept for name, kept in self.avg_parameters.items() if name not in self.equal}
            names = [name for name, kept in averaged.items() if kept.is_floating_point()]
            old = [averaged[name] for name in names]
            torch._foreach_lerp_(old, [new[name].to(kept.device) for name, kept in zip(names, old)], self.momentum)
        if not self.update_buffers:
            copy_buffers(self.module, model, [name for name in self.buffer_names if name not in self.equal])
        self.steps += 1

    @cached_property
    def equal(self) -> frozenset[str]:
        """Names of the model's `equal_buffers`, which may be large; they are copied when the average is used."""
        return frozenset(equal_buffers(self.module))

    @cached_property
    def buffer_names(self) -> list[str]:
        """Names of all buffers of the model."""
        return [name for name, _ in self.module.named_buffers()]


@torch.no_grad()
def copy_buffers(network: nn.Module, of: nn.Module, names: Collection[str]) -> None:
    """Copy buffers with these names from another network, in place."""
    if names:
        own, others = dict(network.named_buffers()), dict(of.named_buffers())
        torch._foreach_copy_([own[name] for name in names], [others[name] for name in names])


@HOOKS.register_module()
class EMAHook(MMEMAHook):
    """mmengine's EMA hook, which validates the averaged weights; this one also measures the raw weights.

    `accuracy/top1` is that of the average, `accuracy/raw/top1` that of the raw weights. This costs a second forward
    pass per validation batch.

    The average starts from the weights before the first step. It is updated after every step of the optimiser; it is
    not updated within an accumulation, nor after a step that is skipped because float16 gradients overflow.

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
        self._stepped = self._updated = False
        self._equal = equal_buffers(self.src_model).keys()

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

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        # Initial weights are drawn, loaded and copied to momentum encoders after `before_run`.
        # The number of updates is on the device, so it is read only until the first one.
        if not self._updated:
            self._updated = bool(self.ema_model.steps)
            if not self._updated:
                self._take_model()

    def _take_model(self) -> None:
        """Copy the model to the average, without its `equal_buffers`."""
        own, new = self.ema_model.module.state_dict(), self.src_model.state_dict()
        names = [name for name in own if name not in self._equal]
        torch._foreach_copy_([own[name] for name in names], [new[name] for name in names])

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if not self._ema_started(runner):
            self._take_model()
        elif self._stepped:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._stepped = False

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        self._take_statistics()
        super().before_save_checkpoint(runner, checkpoint)

    def _take_statistics(self) -> None:
        """Copy the model's buffers to the average, because they may have changed since its last update.

        Those that are equal in all processes are never averaged, and are copied here alone.
        """
        remembered = batch_memories_in(self.src_model)
        for name, memory in batch_memories_in(self.ema_model.module).items():
            memory.load_state_dict(remembered[name].state_dict())
        names = [name for name, _ in self.src_model.named_buffers()]
        if self.ema_model.update_buffers:
            names = [name for name in names if name in self._equal]
        copy_buffers(self.ema_model.module, self.src_model, names)

    def before_val_epoch(self, runner: Any) -> None:
        # From the swap to the end of the validation the copy holds the raw weights. The model keeps its batch-norm
        # statistics, which are saved with the raw weights.
        self._take_statistics()
        super().before_val_epoch(runner)
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
