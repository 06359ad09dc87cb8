"""Memory growth in training: the memory of a Runner that trains for some minutes, after its warm-up and at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook

from benchmarks.memory import resident
from benchmarks.setting import Setting
from benchmarks.suites.runner import recipe
from benchmarks.timing import Comparison, Turn, Turns
from benchmarks.training import run_quietly

# Width, batch size and iterations per epoch: an epoch with its checkpoint takes about a second.
SIZE = (4, 32, 60)
QUICK = (4, 2, 4)
WARM_UP = 0.2
EPOCHS = 10**6


class Watch(Hook):
    """Record the memory after every epoch, and stop training when the time is over."""

    priority = 'LOWEST'

    def __init__(self, seconds: float, fewest: int) -> None:
        self.seconds, self.fewest = seconds, fewest
        self.held: list[tuple[float, float]] = []

    def before_train(self, runner: Any) -> None:
        self.started = time.perf_counter()

    def after_train_epoch(self, runner: Any) -> None:
        passed = time.perf_counter() - self.started
        self.held.append((passed, _held()))
        runner.train_loop.stop_training = passed >= self.seconds and len(self.held) >= self.fewest


def _held() -> float:
    """Return the memory in use in MB: reserved on the GPU, or resident."""
    return torch.cuda.memory_reserved() / 1e6 if torch.cuda.is_available() else resident()


def watch(size: tuple[int, int, int], minutes: float, rounds: int, seconds: float) -> Turns:
    """Measure the memory of the first `rounds` epochs after the warm-up and of the last `rounds` epochs."""
    hook = Watch(minutes * 60, 2 * rounds)
    run_quietly(recipe(*size, EPOCHS), hook)
    over = [at for at, (passed, _) in enumerate(hook.held) if passed >= WARM_UP * minutes * 60]
    first = min(over[0], len(hook.held) - 2 * rounds)
    held = [Turn(value) for _, value in hook.held]
    return {'after the warm-up': held[first : first + rounds], f'after {len(held)} epochs': held[-rounds:]}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    size, minutes = (QUICK, 0.0) if setting.quick else (SIZE, setting.minutes)
    title = f'memory: resident while training for {minutes:g} minutes'
    yield Comparison(title, partial(watch, size, minutes), unit='MB')
