"""Schedules of learning rate and momentum: their length, when they step, and corrected versions of mmengine's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from mmengine.hooks import ParamSchedulerHook as MMParamSchedulerHook
from mmengine.optim import scheduler as mm
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.runner import IterBasedTrainLoop

from openmix.engine.by_epoch_or_iteration import ByEpochOrIteration
from openmix.errors import InputError, check_number, nearest
from openmix.metrics import lower_is_better
from openmix.registry import HOOKS, PARAM_SCHEDULERS


def with_end(schedule: Mapping[str, Any], iterations: int, per_epoch: int) -> dict[str, Any]:
    """Return a schedule's dict with the end of the run as its `end`, unless it states one.

    A schedule in epochs that is stepped by iterations ends exactly after the last iteration; one that is stepped
    by epochs ends after the last epoch, also if that is incomplete.

    Args:
        schedule: dict of the schedule in the recipe.
        iterations: iterations of the whole run.
        per_epoch: iterations per epoch.

    Raises:
        InputError: the schedule begins after its end.
    """
    found = dict(schedule)
    if not found.get('by_epoch', True):
        end: int | Fraction = iterations
    elif found.get('convert_to_iter_based', False):
        end = Fraction(iterations, per_epoch)
    else:
        end = -(-iterations // per_epoch)
    if found.setdefault('end', end) <= found.get('begin', 0):
        unit = 'epoch' if found.get('by_epoch', True) else 'iteration'
        raise InputError(
            f'param_scheduler: {found["type"]} begins at {unit} {found.get("begin", 0)}, '
            f'but ends at {unit} {float(found["end"]):g}; lower begin or train longer'
        )
    return found


@HOOKS.register_module()
class ParamSchedulerHook(MMParamSchedulerHook):
    """Step every schedule after each iteration or epoch, by its unit, in both training loops."""

    def before_train(self, runner: Any) -> None:
        # With accumulation a schedule may step before the optimiser does, and torch's warning about that does not
        # apply. The filter stays, because setting and unsetting it would make Python repeat other warnings.
        warnings.filterwarnings('ignore', 'Detected call of `scheduler.step')

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        passed = (runner.iter + 1) % len(runner.train_dataloader) == 0
        if passed and isinstance(runner.train_loop, IterBasedTrainLoop):
            super().after_train_epoch(runner)

    def after_train_epoch(self, runner: Any) -> None:
        # The loop by iterations calls this only once, at its end.
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            super().after_train_epoch(runner)


class _OnPlateau(mm.ReduceOnPlateauParamScheduler):
    """Reduce a parameter when a validation metric has stopped improving.

    Arguments are those of mmengine's `ReduceOnPlateauParamScheduler`, except for these.

    Args:
        monitor: the metric, such as 'accuracy/top1'.
        rule: 'less' or 'greater' is better; None: by the metric's name, see `openmix.metrics.lower_is_better`.

    Raises:
        InputError: during training, the validation did not measure the metric.
    """

    def __init__(self, optimizer: Any, *args: Any, monitor: str, rule: str | None = None, **kwargs: Any) -> None:
        rule = rule or ('less' if lower_is_better(monitor) else 'greater')
        super().__init__(optimizer, *args, monitor=monitor, rule=rule, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, **_: Any) -> Any:
        """Raise an `InputError`, because this schedule steps with validations and not by iterations."""
        raise InputError(f'{cls.__name__} steps with validations; leave out convert_to_iter_based')

    def step(self, metrics: Mapping[str, float] | None = None) -> None:
        """Count an epoch, or update from the metrics of a validation."""
        if metrics is not None and self.monitor not in metrics:
            name = type(self).__name__
            raise InputError(f"{name}: no metric '{self.monitor}' was measured; {nearest(self.monitor, metrics)}")
        super().step(metrics)


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauParamScheduler(_OnPlateau):
    __doc__ = _OnPlateau.__doc__


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauLR(LRSchedulerMixin, _OnPlateau):
    __doc__ = _OnPlateau.__doc__


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauMomentum(MomentumSchedulerMixin, _OnPlateau):
    __doc__ = _OnPlateau.__doc__

    def step(self, metrics: Mapping[str, float] | None = None) -> None:
        """Count an epoch, or update from the metrics of a validation."""
        _OnPlateau.step(self, metrics)
        if self.use_betas:
            for group in self.optimizer.param_groups:
                group['betas'] = (group['momentum'], group['betas'][1])


class _OneCycle(mm.OneCycleParamScheduler):
    """mmengine's schedule, without the function in its state, which a checkpoint could not be read back with.

    Raises:
        InputError: it has fewer steps than there are from its begin to its end.
    """

    def __init__(
        self,
        optimizer: Any,
        *args: Any,
        total_steps: int | None = None,
        begin: int = 0,
        end: int = mm.param_scheduler.INF,
        **kwargs: Any,
    ) -> None:
        if total_steps is not None and end < mm.param_scheduler.INF and total_steps < end - begin:
            raise InputError(
                f'{type(self).__name__}: total_steps must be >= {end - begin}, the steps from begin to end, '
                f'got {total_steps}'
            )
        super().__init__(optimizer, *args, total_steps=total_steps, begin=begin, end=end, **kwargs)

    def state_dict(self) -> dict:
        return {key: value for key, value in super().state_dict().items() if key != 'anneal_func'}


@PARAM_SCHEDULERS.register_module()
class OneCycleParamScheduler(_OneCycle):
    __doc__ = _OneCycle.__doc__


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(LRSchedulerMixin, _OneCycle):
    __doc__ = _OneCycle.__doc__


class _Exponential(mm.ExponentialParamScheduler):
    """mmengine's schedule, except that `gamma` is the factor per epoch also if it is stepped by iterations."""

    @classmethod
    def build_iter_from_epoch(cls, *args: Any, gamma: float, epoch_length: int, **kwargs: Any) -> Any:
        """Build a schedule by iterations that decays by `gamma` per epoch."""
        each = gamma ** (1 / epoch_length)
        return super().build_iter_from_epoch(*args, gamma=each, epoch_length=epoch_length, **kwargs)


@PARAM_SCHEDULERS.register_module()
class ExponentialParamScheduler(_Exponential):
    __doc__ = _Exponential.__doc__


@PARAM_SCHEDULERS.register_module()
class ExponentialLR(LRSchedulerMixin, _Exponential):
    __doc__ = _Exponential.__doc__


@PARAM_SCHEDULERS.register_module()
class ExponentialMomentum(MomentumSchedulerMixin, _Exponential):
    __doc__ = _Exponential.__doc__


class _CosineDecay(ByEpochOrIteration):
    """Multiply a parameter by cos(angle pi k / K), where k counts steps and K is their number, without reaching 0.

    With the default angle, 0.773 of the parameter is left half-way and 0.195 at the end (Sohn et al., 2020, section
    2.4). Another schedule of the same parameter, such as a warm-up that overlaps, multiplies it too.

    Args:
        optimizer, param_name, begin, end, last_step, by_epoch, verbose: see mmengine's schedules.
        angle: angle of the cosine at the end, in multiples of pi, in (0, 1/2].

    Raises:
        InputError: `angle` is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        angle: float = 7 / 16,
        begin: int = 0,
        end: int = mm.param_scheduler.INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        check_number(f'{type(self).__name__}: angle', angle, 0.0, 0.5, above=True)
        self.angle = angle
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[float]:
        # From the current value, as mmengine's schedules, so that one which overlaps is not overwritten.
        if self.last_step == 0:
            return [group[self.param_name] for group in self.optimizer.param_groups]
        now, before = (
            math.cos(self.angle * math.pi * step / (self.end - self.begin))
            for step in (self.last_step, self.last_step - 1)
        )
        return [group[self.param_name] * now / before for group in self.optimizer.param_groups]


@PARAM_SCHEDULERS.register_module()
class CosineDecayParamScheduler(_CosineDecay):
    __doc__ = _CosineDecay.__doc__


@PARAM_SCHEDULERS.register_module()
class CosineDecayLR(LRSchedulerMixin, _CosineDecay):
    __doc__ = _CosineDecay.__doc__


@PARAM_SCHEDULERS.register_module()
class CosineDecayMomentum(MomentumSchedulerMixin, _CosineDecay):
    __doc__ = _CosineDecay.__doc__
