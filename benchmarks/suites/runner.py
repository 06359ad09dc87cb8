"""The engine's overhead per step: a recipe's Runner compared with a bare PyTorch loop that does the same work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from benchmarks.setting import Setting
from benchmarks.timing import Comparison, Turn, Turns, page_faults
from benchmarks.training import on_noise, run_quietly

# Width, batch size and iterations per epoch of small networks, with the time of a step on one core.
STEPS = {'about 10 ms': (4, 32, 300), 'about 100 ms': (16, 110, 60)}
QUICK = {'tiny': (4, 2, 8)}
SEGMENT = 10


class Alternate(Hook):
    """Run a bare training loop inside the Runner's, a few iterations of each in turn, and time both.

    The bare loop has a copy of the model, the same images, augmentation and loss, and PyTorch's own
    optimiser and cosine schedule; it does not log or save. A round is an epoch; the end of an epoch, with its
    checkpoint, counts as time of the Runner.
    """

    priority = 'LOWEST'

    def __init__(self, segment: int = SEGMENT) -> None:
        self.segment = segment
        self.bare: list[Turn] = []
        self.steps: list[Turn] = []
        self.whole: list[Turn] = []
        self._own: list[tuple[float, int, float]] = []
        self._bare: list[tuple[float, int, float]] = []

    def before_train(self, runner: Any) -> None:
        model = deepcopy(runner.model)
        data = runner.train_dataloader.dataset
        settings = dict(runner.cfg.optim_wrapper.optimizer)
        settings.pop('type')
        self.model, self.data, self.batch = model, data, runner.train_dataloader.batch_size
        self.optimizer = torch.optim.SGD(model.parameters(), **settings)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, runner.max_iters)
        model.train()
        self._run_bare(self.segment)

    def _run_bare(self, iterations: int) -> None:
        order = torch.randint(len(self.data), (iterations, self.batch))
        for picked in order:
            batch = dict(inputs=self.data.array[picked], labels=self.data.labels[picked])
            batch = self.model.data_preprocessor(batch, training=True)
            loss = self.model.loss(batch)['loss']
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()

    def _start(self) -> None:
        self._faults, self._started = page_faults(), time.perf_counter()

    def _stop(self) -> tuple[float, float]:
        return time.perf_counter() - self._started, page_faults() - self._faults

    def before_train_epoch(self, runner: Any) -> None:
        self._close_round()
        self._start()

    def after_train_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        if (batch_idx + 1) % self.segment:
            return
        seconds, faults = self._stop()
        self._own.append((seconds, self.segment, faults))
        self._start()
        self._run_bare(self.segment)
        seconds, faults = self._stop()
        self._bare.append((seconds, self.segment, faults))
        self._start()

    def after_train(self, runner: Any) -> None:
        self._close_round()

    def _close_round(self) -> None:
        """Close the round of an epoch; the time since its last segment is the end of the epoch."""
        if not self._own:
            return
        seconds, faults = self._stop()
        self.steps.append(_mean(self._own))
        self.bare.append(_mean(self._bare))
        self.whole.append(_mean([*self._own, (seconds, 0, faults)]))
        self._own, self._bare = [], []


def _mean(segments: list[tuple[float, int, float]]) -> Turn:
    seconds, iterations, faults = (sum(values) for values in zip(*segments))
    return Turn(seconds / iterations, faults / iterations)


def recipe(width: int, batch: int, iterations: int, epochs: int) -> Config:
    """Make the recipe of a small network; its width and batch size determine the time of a step."""
    cfg = on_noise(batch * iterations, batch, epochs)
    cfg.model.backbone = dict(type='ThinResNet', depth=8, width=width)
    return cfg


def alternate(width: int, batch: int, iterations: int, rounds: int, seconds: float) -> Turns:
    """Measure the Runner and the bare loop; a round is an epoch, so `seconds` is not used."""
    hook = Alternate(min(SEGMENT, iterations))
    # The first epoch warms up.
    run_quietly(recipe(width, batch, iterations, rounds + 1), hook)
    turns = {'bare PyTorch loop': hook.bare, 'Runner': hook.steps, 'Runner, with the end of the epoch': hook.whole}
    return {name: taken[1:] for name, taken in turns.items()}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    for size, shape in (QUICK if setting.quick else STEPS).items():
        yield Comparison(f'runner: a step of {size}, epochs of {shape[-1]} iterations', partial(alternate, *shape))
