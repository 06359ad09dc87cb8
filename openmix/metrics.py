"""Properties of a number of a run that follow from its name."""

from __future__ import annotations

import re
from typing import NamedTuple

# Characters of a text about a run that a report shows, such as its machine or a version.
MOST_OF_FACT = 200
# Names in a line of `metrics.jsonl` that no scalar of `Algorithm.loss` may have.
TAKEN = ('epoch', 'iter', 'lr', 'base_lr', 'momentum', 'time', 'data_time', 'time_s', 'gpu_mib')
_LOWER_IS_BETTER = ('loss', 'nll', 'error', 'mae', 'rmse')
_PERCENT = re.compile(r'top\d+|error|ece|mce|rms|ap\d*', re.IGNORECASE)


def lower_is_better(metric: str) -> bool:
    """Return true if lower values of a metric are better.

    These are times, metrics of calibration, and those whose last part has a word that ends in loss, nll, error,
    mae or rmse.

    Args:
        metric: such as 'accuracy/top1' (no), 'accuracy/nll', 'loss_clean', 'fgsm/error' or
            'time/minutes_per_epoch' (yes).
    """
    words = re.split(r'[^a-z0-9]+', metric.rpartition('/')[2].lower())
    return metric.startswith(('time/', 'calibration/')) or any(word.endswith(_LOWER_IS_BETTER) for word in words)


def with_unit(metric: str) -> str:
    """Return the name of a metric with '(%)' behind those that openmix measures in percent, as on an axis."""
    return f'{metric} (%)' if '/' in metric and _PERCENT.fullmatch(metric.rpartition('/')[2]) else metric


def is_loss(name: str) -> bool:
    """Return true if a scalar of `Algorithm.loss` is minimised; the others are diagnostics."""
    return 'loss' in name


def is_diagnostic(name: str) -> bool:
    """Return true if a number in a line of `metrics.jsonl` is a diagnostic: metrics of a validation contain a '/'."""
    return name not in TAKEN and '/' not in name and not is_loss(name)


# Where the message hub of a run has which images the last validation classified rightly, see `Right`.
RIGHT = 'right'


class Right(NamedTuple):
    """Which images a validation classified rightly.

    Attributes:
        images: number of images.
        ids: 12 hex digits over their ids.
        bits: one bit an image in the order of the ids, the first is the highest of the first byte; in hex digits.
    """

    images: int
    ids: str
    bits: str

    def accuracy(self) -> float:
        """Return the share of right images in percent."""
        return 100 * int(self.bits or '0', 16).bit_count() / self.images
