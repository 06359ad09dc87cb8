"""`ByEpochOrIteration`: the base of schedules of our own, which step by epochs or by iterations."""

from __future__ import annotations

from typing import Any

from mmengine.optim import scheduler as mm


class ByEpochOrIteration(mm.param_scheduler._ParamScheduler):
    """A schedule of a parameter that a recipe gives in epochs, and that may be stepped by iterations.

    Args:
        optimizer, param_name, begin, end, last_step, by_epoch, verbose: see mmengine's schedules.
    """

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        epoch_length: int,
        begin: int = 0,
        end: int = mm.param_scheduler.INF,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Build a schedule by iterations from numbers of epochs."""
        end = end if end == mm.param_scheduler.INF else int(end * epoch_length)
        return cls(*args, **{**kwargs, 'begin': int(begin * epoch_length), 'end': end, 'by_epoch': False})
