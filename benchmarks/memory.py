"""Memory of this process, and of a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import Measure, Turn, Turns

MEGA = 1e6


def resident() -> float:
    """MB that this process holds now; where the system does not tell, the most it has held."""
    pages = Path('/proc/self/statm')
    if not pages.exists():
        return most_resident()
    return int(pages.read_text().split()[1]) * resource.getpagesize() / MEGA


def most_resident() -> float:
    """MB, the most that this process has held; on a GPU machine, the most of the GPU's that tensors took."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MEGA
    status = Path('/proc/self/status')
    if status.exists():
        # What getrusage says of a new process starts at the memory of the one that started it.
        return next(int(line.split()[1]) for line in status.open() if line.startswith('VmHWM')) * 1024 / MEGA
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / MEGA


def peaks(runs: Mapping[str, Sequence[Any]]) -> Measure:
    """A `Comparison`'s measure: the peak of a process of its own a round.

    Args:
        runs: candidate to a function that can be imported, and its arguments.
    """

    def measured(rounds: int, seconds: float) -> Turns:
        return {name: [Turn(peak(*run)) for _ in range(rounds)] for name, run in runs.items()}

    return measured


def peak(work: Callable[..., Any], *args: Any) -> float:
    """MB, `most_resident` of a fresh process that does `work(*args)`, a function that can be imported."""
    # Spawned: a fork would start with this process's memory, and threads do not survive it.
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_peak, (work, args))


def _peak(work: Callable[..., Any], args: tuple) -> float:
    work(*args)
    return most_resident()
