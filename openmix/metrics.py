"""What the name of a metric says of it."""

from __future__ import annotations

_LOWER_IS_BETTER = ('loss', 'nll', 'error')


def lower_is_better(metric: str) -> bool:
    """Whether a metric counts what should be small.

    Args:
        metric: such as 'accuracy/top1' (no), 'accuracy/nll', 'fgsm/error' or 'time/minutes_per_epoch' (yes).
    """
    return metric.startswith('time/') or metric.rpartition('/')[2].endswith(_LOWER_IS_BETTER)
