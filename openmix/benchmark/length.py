"""How long a recipe trains, in what it counts, and how often it measures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mmengine.config import Config

_MOST = 1 << 31
UNITS = {'epoch': 'max_epochs', 'iteration': 'max_iters'}  # what a training counts, and the key of its length


@dataclass(frozen=True)
class Length:
    """How long a run trains.

    Attributes:
        count: of epochs or iterations.
        unit: 'epoch' or 'iteration'.
    """

    count: int
    unit: str

    def __str__(self) -> str:
        return f'{self.count} {self.unit}s'

    def reached(self, row: Mapping[str, float]) -> int:
        """Epochs or iterations trained at a line of `metrics.jsonl`; 0 for an empty one."""
        return int(row.get(row_key(self.unit), 0))


def row_key(unit: str) -> str:
    """The name under which a line of `metrics.jsonl` counts a unit."""
    return 'iter' if unit == 'iteration' else 'epoch'


def length_of(cfg: Config) -> Length | None:
    """The length of a recipe's training; None where it states none."""
    loop = cfg.get('train_cfg') or {}
    for unit, key in UNITS.items():
        count = loop.get(key)
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count < _MOST:
            return Length(count, unit)
    return None


def unit_of(lengths: Iterable[Length | None]) -> str:
    """What all trainings count, 'epoch' or 'iteration'; '' where some count one and some the other."""
    found = {length.unit for length in lengths if length is not None} or {'epoch'}
    return found.pop() if len(found) == 1 else ''


def median_of(readout: str) -> int:
    """N of the readout 'median_last<N>'; 0 of others."""
    found = re.fullmatch(r'median_last(\d+)', readout)
    return int(found[1]) if found else 0


def values_of(cfg: Config, metric: str) -> int | None:
    """How many values of a metric a whole training records; None where the recipe does not tell.

    A metric whose name has a '/' comes from the validations; others may come from training, and count where that does.
    """
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
        return None  # the training says what is wrong
    count = 0
    for (first, interval), (following, _) in pairwise([*intervals, (length.count + 1, 1)]):
        start, end = max(first, begin), min(following - 1, length.count)
        count += max(0, end // interval - (start - 1) // interval)
    at_the_end = [interval for first, interval in intervals if first <= length.count][-1]
    return count + bool(length.count % at_the_end and length.count >= begin)
