"""Scale the learning rate if the global batch size differs from the one that a recipe was made for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper

from openmix.engine.data_check import group_of
from openmix.errors import InputError, check_number

# Arguments of a schedule that are learning rates; all others are factors of the optimiser's learning rate.
_LEARNING_RATES = ('eta_min', 'eta_max', 'min_value')


def scale_schedule(schedule: Any, ratio: float) -> Any:
    """Multiply the learning rates in the arguments of parameter schedulers by `ratio`; return new dicts.

    Args:
        schedule: one scheduler dict or a list; schedulers of other parameters, such as the momentum, do not change.
        ratio: new learning rate divided by the old one.
    """
    if isinstance(schedule, (list, tuple)):
        return [scale_schedule(one, ratio) for one in schedule]
    schedule = copy.deepcopy(schedule)
    is_lr = str(schedule.get('type')).endswith('LR') or schedule.get('param_name') == 'lr'
    for key in _LEARNING_RATES:
        if is_lr and schedule.get(key) is not None:
            value = schedule[key]
            schedule[key] = [ratio * v for v in value] if isinstance(value, (list, tuple)) else ratio * value
    return schedule


def enable_scaling(cfg: Config) -> None:
    """Switch on the scaling of the learning rate in a recipe.

    Raises:
        InputError: the recipe does not state the global batch size that it was made for.
    """
    if not isinstance(cfg.get('auto_scale_lr'), Mapping):
        raise InputError('the recipe names no global batch to scale from; add auto_scale_lr=dict(base_batch_size=...)')
    cfg.auto_scale_lr.enable = True


def split_batch(cfg: Config, processes: int) -> None:
    """Divide the training batch of a prepared recipe among the processes, so that the global batch does not change.

    Called after `prepare`, so that the number of devices does not change the recipe's hash.

    Raises:
        InputError: the batch size is not a multiple of the number of processes, times the samples that a data set
            with pools draws together.
    """
    loader, group = cfg.train_dataloader, group_of(cfg, 'train')
    if loader.batch_size % processes:
        raise InputError(f'train_dataloader.batch_size {loader.batch_size} is no multiple of {processes} processes')
    if loader.batch_size % (step := processes * group):
        raise InputError(
            f'train_dataloader.batch_size {loader.batch_size} cannot be divided among {processes} processes in groups '
            f'of {group}, one labelled image and {group - 1} unlabelled: give a multiple of {step}, such as '
            f'{max(1, loader.batch_size // step) * step}'
        )
    loader.batch_size //= processes


def match_learning_rate(runner: Any, optim_wrapper: OptimWrapper, auto_scale_lr: Mapping[str, Any] | None) -> None:
    """Scale the learning rate to the global batch size, or warn that it is not scaled.

    By the linear rule (Goyal et al., Accurate, Large Minibatch SGD), every learning rate of the run is multiplied
    by processes x batch x accumulated iterations / `base_batch_size`. Weight decay, momentum and the lengths
    of schedules do not change.

    *Differs from mmengine*: accumulated iterations count, and a schedule's `eta_min` is scaled too.

    Args:
        runner: the runner, before its schedulers are built.
        optim_wrapper: the built optimiser wrapper.
        auto_scale_lr: `base_batch_size`, the global batch size that the recipe was made for, and `enable`.

    Raises:
        InputError: `base_batch_size` is missing or not a positive integer.
    """
    if auto_scale_lr is None:
        return
    base = auto_scale_lr.get('base_batch_size')
    check_number('auto_scale_lr.base_batch_size', base, 1)
    loader = runner._train_dataloader
    batch = loader['batch_size'] if isinstance(loader, Mapping) else loader.batch_size
    world, accumulated = runner.world_size, optim_wrapper._accumulative_counts
    total = world * batch * accumulated
    if total == base:
        return
    ratio, lr = total / base, optim_wrapper.optimizer.defaults['lr']
    text = f'The global batch is {total} (processes {world} x batch {batch} x accumulated iterations {accumulated}), '
    text += f'the recipe was made for {base}: '
    if not auto_scale_lr.get('enable', False):
        runner.logger.warning(f'{text}its learning rate {lr:g} is kept; --auto-scale-lr trains with {lr * ratio:g}')
        return
    runner.logger.info(f'{text}learning rates are multiplied by {ratio:g}, {lr:g} becomes {lr * ratio:g}')
    for group in optim_wrapper.param_groups:
        group['lr'] = group['lr'] * ratio
    if runner.param_schedulers is not None:
        runner.param_schedulers = scale_schedule(runner.param_schedulers, ratio)
