"""A schedule in cycles, each of which rises and falls by cosines."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim import scheduler as mm
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin

from openmix.engine.by_epoch_or_iteration import ByEpochOrIteration
from openmix.errors import check_number
from openmix.registry import PARAM_SCHEDULERS


def cycle_factor(step: int, length: int, peak: float, low: float, rise: float) -> float:
    """Compute the factor at a step of cycles of `length` steps: a cosine from 1 to `peak`, then one to `low`."""
    at, risen = step % length, int(rise * length)
    start, end, share = (1.0, peak, at / risen) if at < risen else (peak, low, (at - risen) / (length - risen))
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


class _Cyclic(ByEpochOrIteration):
    """Multiply a parameter by a factor that rises from 1 to `peak` and falls to `low` in every cycle, by cosines.

    A cycle begins with a factor of 1 again. Another schedule of the same parameter, such as a warm-up that overlaps,
    multiplies it too.

    Args:
        optimizer, param_name, begin, end, last_step, by_epoch, verbose: see mmengine's schedules.
        peak: the largest factor, > 0.
        low: the factor that a cycle falls to, > 0.
        cycles: number of them, from `begin` to `end`; each has the same whole number of steps.
        rise: share of a cycle in which the factor rises, in [0, 1).

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        peak: float = 10.0,
        low: float = 1.0,
        cycles: int = 1,
        rise: float = 0.4,
        begin: int = 0,
        end: int = mm.param_scheduler.INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        name = type(self).__name__
        check_number(f'{name}: peak', peak, 0.0, above=True)
        check_number(f'{name}: low', low, 0.0, above=True)
        check_number(f'{name}: cycles', cycles, 1)
        check_number(f'{name}: rise', rise, 0.0, 1.0, below=True)
        self.peak, self.low, self.rise = peak, low, rise
        self.length = max(1, (end - begin) // cycles)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[float]:
        # From the current value, as mmengine's schedules, so that one which overlaps is not overwritten.
        before = self._factor(self.last_step - 1) if self.last_step else 1.0
        ratio = self._factor(self.last_step) / before
        return [group[self.param_name] * ratio for group in self.optimizer.param_groups]

    def _factor(self, step: int) -> float:
        return cycle_factor(step, self.length, self.peak, self.low, self.rise)


@PARAM_SCHEDULERS.register_module()
class CyclicParamScheduler(_Cyclic):
    __doc__ = _Cyclic.__doc__


@PARAM_SCHEDULERS.register_module()
class CyclicLR(LRSchedulerMixin, _Cyclic):
    __doc__ = _Cyclic.__doc__


@PARAM_SCHEDULERS.register_module()
class CyclicMomentum(MomentumSchedulerMixin, _Cyclic):
    __doc__ = _Cyclic.__doc__
