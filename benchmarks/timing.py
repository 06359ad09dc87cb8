"""Fair timing: candidates take turns inside one run, and ratios are taken turn by turn. Memory is compared likewise."""

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
    """One candidate's part of a round."""

    value: float  # seconds a call, or the comparison's other unit
    faults: float = 0.0  # page faults a call: memory that the allocator had to ask the system for


Turns = dict[str, list[Turn]]
# (rounds, seconds a turn) to every candidate's turns, equally many.
Measure = Callable[[int, float], Turns]


@dataclass(frozen=True)
class Comparison:
    """What is compared: how its turns are measured, and which candidate is read against which.

    Attributes:
        title: printed above the table.
        measure: see `alternating`.
        against: candidate to the references of its ratios; those left out are read against the first candidate.
        unit: of the turns' values, 's' or 'MB'.
    """

    title: str
    measure: Measure
    against: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unit: str = 's'


@dataclass(frozen=True)
class Ratio:
    """How many times as much as a reference a candidate takes: median, lowest and highest round."""

    to: str
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """One row: what a call of one candidate takes, in `unit`, over the rounds of one run."""

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
    """A `Comparison`'s measure: A B A B ..., after a warm-up of each; `settle` calls of a turn go untimed."""
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
    """Means over at least one call and as many as fill `seconds`."""
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
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def page_faults() -> int:
    """Of this process so far, those without reading a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def summarise(comparison: Comparison, rounds: int, seconds: float) -> list[Timing]:
    """Measure a comparison; a ratio is the median of the rounds' own ratios, not that of two medians."""
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
    """Have glibc keep what is freed instead of returning it; whether it does.

    By default every large tensor is fresh memory that faults in page by page, or is not, depending on
    what was freed before it: the same call takes once or three times as long.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    trim_threshold, mmap_max = -1, -4
    return bool(mallopt) and bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))
