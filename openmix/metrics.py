"""Properties of a metric that follow from its name."""

from __future__ import annotations

import re

_LOWER_IS_BETTER = ('loss', 'nll', 'error')


def lower_is_better(metric: str) -> bool:
    """Return true if lower values of a metric are better.

    These are times, and metrics whose last part has a word that ends in loss, nll or error.

    Args:
        metric: such as 'accuracy/top1' (no), 'accuracy/nll', 'loss_clean', 'fgsm/error' or
            'time/minutes_per_epoch' (yes).
    """
    words = re.split(r'[^a-z0-9]+', metric.rpartition('/')[2].lower())
    return metric.startswith('time/') or any(word.endswith(_LOWER_IS_BETTER) for word in words)
