"""Fair timing: candidates take turns within one run, and ratios are computed per turn; memory is compared likewise."""

from __future__ import annotations

import ctypes
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch

Candidate = Callable[[], object]
Clock = Callable[[], float]


class Turn(NamedTuple):
    """The measurement of one candidate in one round."""

    value: float  # seconds per call, or another unit of the comparison
    faults: float = 0.0  # page faults per call: memory that the allocator requested from the system


Turns = dict[str, list[Turn]]
# Maps (rounds, seconds per turn) to the turns of every candidate, one per round.
Measure = Callable[[int, float], Turns]


@dataclass(frozen=True)
class Comparison:
    """A comparison of candidates: how they are measured, and which ratios are reported.

    Attributes:
        title: printed above the table.
        measure: function that measures all candidates, see `alternating`.
        against: candidate -> the candidates that it is divided by; by default the first candidate.
        unit: unit of the values, 's' or 'MB'.
    """

    title: str
    measure: Measure
    against: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unit: str = 's'


@dataclass(frozen=True)
class Ratio:
    """The ratio of a candidate to a reference: median, lowest and highest over rounds."""

    to: str
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """One row of a comparison: the value per call of one candidate, in `unit`, over the rounds of one run."""

    suite: str
    name: str
    median: float
    low: float
    high: float
    unit: str
    rounds: int
    faults: float
    ratios: tuple[Ratio, ...]


def alternating(candidates: Mapping[str, Candidate], settle: int = 1) -> Measure:
    """Make a measure that times candidates in turns, A B A B ..., after a warm-up of each.

    Args:
        candidates: the functions to time, by name.
        settle: number of untimed calls at the start of a turn.
    """
    return partial(_alternate, candidates, settle=settle)


def _alternate(
    candidates: Mapping[str, Candidate], rounds: int, seconds: float, settle: int = 1, clock: Clock = time.perf_counter
) -> Turns:
    for candidate in candidates.values():
        _take_turn(candidate, seconds / 3, settle, clock)
    turns: Turns = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            turns[name].append(_take_turn(candidate, seconds, settle, clock))
    return turns


def _take_turn(candidate: Candidate, seconds: float, settle: int, clock: Clock) -> Turn:
    """Time calls of one candidate until `seconds` are over, at least one; return means per call."""
    for _ in range(settle):
        candidate()
    synchronise()
    calls, faults, started = 0, page_faults(), clock()
    while True:
        candidate()
        calls += 1
        synchronise()
        elapsed = clock() - started
        if elapsed >= seconds:
            return Turn(elapsed / calls, (page_faults() - faults) / calls)


def synchronise() -> None:
    """Wait for the GPU, if there is one (GPU sync)."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def page_faults() -> int:
    """Return the number of minor page faults (without disk access) of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def summarise(comparison: Comparison, rounds: int, seconds: float) -> list[Timing]:
    """Measure a comparison; a ratio is the median of the ratios of all rounds, not the ratio of two medians."""
    turns = comparison.measure(rounds, seconds)
    first = next(iter(turns))
    rows = []
    for name, taken in turns.items():
        values = [turn.value for turn in taken]
        ratios = [
            _ratio(values, to, turns[to]) for to in comparison.against.get(name, [first] if name != first else [])
        ]
        rows.append(
            Timing(
                comparison.title,
                name,
                statistics.median(values),
                min(values),
                max(values),
                comparison.unit,
                len(values),
                statistics.median(turn.faults for turn in taken),
                tuple(ratios),
            )
        )
    return rows


def _ratio(values: Sequence[float], to: str, reference: Sequence[Turn]) -> Ratio:
    rounds = [mine / other.value for mine, other in zip(values, reference, strict=True)]
    return Ratio(to, statistics.median(rounds), min(rounds), max(rounds))


def keep_memory() -> bool:
    """Make glibc keep freed memory instead of returning it to the system; return true if that is supported.

    By default a large tensor may or may not be new memory with a page fault for every page, depending on what was
    freed before it, and the time of the same call varies by a factor of three.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    trim_threshold, mmap_max = -1, -4
    return bool(mallopt) and bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))
