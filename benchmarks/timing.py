"""Fair timing: candidates take turns inside one run, and only ratios are claimed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Candidate = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds a call of one candidate, over the rounds of one run."""

    suite: str
    name: str
    median_s: float
    spread: float  # (slowest - fastest round) / median
    ratio: float  # to the first candidate of the suite: median of the per-round ratios


def _time(candidate: Candidate, seconds: float) -> float:
    """Mean seconds a call, over enough calls to fill `seconds`."""
    calls = 0
    started = time.perf_counter()
    while True:
        candidate()
        calls += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return elapsed / calls


def compare(suite: str, candidates: Mapping[str, Candidate], rounds: int = 5, seconds: float = 0.3) -> list[Timing]:
    """Time candidates in turns, after a warm-up round of each.

    Args:
        suite: title of the comparison.
        candidates: name to a call; ratios are to the first.
        rounds: turns a candidate takes, at least 3.
        seconds: the least a turn lasts.
    """
    for candidate in candidates.values():
        _time(candidate, seconds / 3)
    turns: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(max(3, rounds)):
        for name, candidate in candidates.items():
            turns[name].append(_time(candidate, seconds))
    first = turns[next(iter(turns))]
    return [
        Timing(
            suite,
            name,
            median_s=statistics.median(times),
            spread=(max(times) - min(times)) / statistics.median(times),
            ratio=statistics.median(a / b for a, b in zip(times, first)),
        )
        for name, times in turns.items()
    ]
