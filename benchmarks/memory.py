"""Measure the memory of this process, and the peak memory of a function in a new process."""

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
    """Return the resident memory of this process in MB; its peak on systems without /proc."""
    pages = Path('/proc/self/statm')
    if not pages.exists():
        return most_resident()
    return int(pages.read_text().split()[1]) * resource.getpagesize() / MEGA


def most_resident() -> float:
    """Return the peak resident memory of this process in MB; with a GPU, the peak of GPU memory in tensors."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MEGA
    status = Path('/proc/self/status')
    if status.exists():
        # Not getrusage: its peak of a new process starts at the memory of the parent process.
        return next(int(line.split()[1]) for line in status.open() if line.startswith('VmHWM')) * 1024 / MEGA
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / MEGA


def peaks(runs: Mapping[str, Sequence[Any]]) -> Measure:
    """Make a `Comparison`'s measure of the peak memory of a new process in every round.

    Args:
        runs: candidate -> an importable function, followed by its arguments.
    """

    def measured(rounds: int, seconds: float) -> Turns:
        return {name: [Turn(peak(*run)) for _ in range(rounds)] for name, run in runs.items()}

    return measured


def peak(work: Callable[..., Any], *args: Any) -> float:
    """Run an importable function, `work(*args)`, in a new process and return that process's `most_resident`, in MB."""
    # Spawned, because a fork starts with this process's memory and loses its threads.
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_peak, (work, args))


def _peak(work: Callable[..., Any], args: tuple) -> float:
    work(*args)
    return most_resident()
