"""The length of a recipe's training, in epochs or iterations, and its number of validations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mmengine.config import Config

from openmix.result import MINUTES

_MOST = 1 << 31
UNITS = {'epoch': 'max_epochs', 'iteration': 'max_iters'}  # the unit of a training's length, and its key


@dataclass(frozen=True)
class Length:
    """The length of a training.

    Attributes:
        count: number of epochs or iterations.
        unit: 'epoch' or 'iteration'.
    """

    count: int
    unit: str

    def __str__(self) -> str:
        return f'{self.count} {self.unit}s'

    def reached(self, row: Mapping[str, float]) -> int:
        """Return the epochs or iterations trained at a line of `metrics.jsonl`; 0 for an empty line."""
        return int(row.get(row_key(self.unit), 0))


def row_key(unit: str) -> str:
    """Return the key of a unit in a line of `metrics.jsonl`."""
    return 'iter' if unit == 'iteration' else 'epoch'


def length_of(cfg: Config) -> Length | None:
    """Return the length of a recipe's training; None if it states none."""
    loop = cfg.get('train_cfg') or {}
    for unit, key in UNITS.items():
        count = loop.get(key)
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count < _MOST:
            return Length(count, unit)
    return None


def unit_of(lengths: Iterable[Length | None]) -> str:
    """Return the common unit of all trainings, 'epoch' or 'iteration'; '' if they differ."""
    found = {length.unit for length in lengths if length is not None} or {'epoch'}
    return found.pop() if len(found) == 1 else ''


def median_of(readout: str) -> int:
    """Return N of the readout 'median_last<N>'; 0 for others."""
    found = re.fullmatch(r'median_last(\d+)', readout)
    return int(found[1]) if found else 0


def values_of(cfg: Config, metric: str) -> int | None:
    """Count the values of a metric that a whole training records; None if the recipe does not determine it.

    A metric with a '/' in its name comes from validations; others are assumed to be recorded by training.
    """
    if metric == MINUTES:
        return 1
    length, loop = length_of(cfg), cfg.get('train_cfg') or {}
    if length is None:
        return None
    begin, default = loop.get('val_begin', 1), 1 if length.unit == 'epoch' else 1000
    changes = loop.get('dynamic_intervals') or []
    intervals: list[Any] = [(1, loop.get('val_interval', default)), *map(tuple, changes)]
    if '/' not in metric:
        begin, intervals = 1, [(1, 1)] if length.unit == 'epoch' else intervals
    numbers = [begin, *(number for pair in intervals for number in pair)]
    if not all(type(number) is int and number > 0 for number in numbers):
        return None  # the training reports the error
    count = 0
    for (first, interval), (following, _) in pairwise([*intervals, (length.count + 1, 1)]):
        start, end = max(first, begin), min(following - 1, length.count)
        count += max(0, end // interval - (start - 1) // interval)
    at_the_end = [interval for first, interval in intervals if first <= length.count][-1]
    return count + bool(length.count % at_the_end and length.count >= begin)
