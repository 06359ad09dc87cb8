"""An epoch of training with data loading, compared with the time of its FLOPs at the speed of matrix products."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from benchmarks.flops import arithmetic, beside_arithmetic, recipe_flops
from benchmarks.setting import Setting
from benchmarks.timing import Comparison, Turn, Turns, synchronise
from benchmarks.training import on_noise, run_quietly

# Images per epoch, batch size, and size of the matrices: as many images as CIFAR on a GPU, a fiftieth on a CPU.
SIZES = {'cuda': (50_000, 100, 8192), 'cpu': (1_000, 100, 1024)}
QUICK = (4, 2, 64)
# Policy, loss, and the `compile` setting.
VANILLA = 'NoMix, mix_ce'
RUNS: dict[str, tuple[str, str, dict | bool]] = {
    VANILLA: ('NoMix', 'mix_ce', False),
    'Mixup, decoupled_ce': ('Mixup', 'decoupled_ce', False),
    'CutMix, decoupled_ce': ('CutMix', 'decoupled_ce', False),
    'CutMix, decoupled_ce, compiled': ('CutMix', 'decoupled_ce', {}),
    'PuzzleMix, mix_ce': ('PuzzleMix', 'mix_ce', False),
    'AutoMix, mix_ce': ('AutoMix', 'mix_ce', False),
    'AMix, mix_ce': ('AMix', 'mix_ce', False),
}


class TimeEpochs(Hook):
    """Record the seconds of every epoch, including a GPU sync at its end."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_train_epoch(self, runner: Any) -> None:
        synchronise()
        self.started = time.perf_counter()

    def after_train_epoch(self, runner: Any) -> None:
        synchronise()
        self.seconds.append(time.perf_counter() - self.started)


def recipe(policy: str, loss: str, compiled: dict | bool, images: int, batch: int, quick: bool) -> Config:
    """Make a fast recipe of ResNet-18: bfloat16, channels-last, images on the device, no checkpoints."""
    cfg = on_noise(images, batch, epochs=2)
    cfg.model.policy = dict(type=policy)
    cfg.model.head.loss = dict(type=loss)
    cfg.model.data_preprocessor.channels_last = True
    cfg.optim_wrapper.type = 'AutocastOptimWrapper'
    cfg.default_hooks.checkpoint = None
    cfg.compile = compiled
    cfg.data_on_device = True
    if quick:
        cfg.model.backbone = dict(type='ThinResNet', depth=8, width=4)
        cfg.compile = compiled is not False and dict(backend='eager')
    return cfg


def take_turns(recipes: Mapping[str, Config], rounds: int, seconds: float) -> Turns:
    """Measure trainings of two epochs in turns, as a `Comparison`'s measure; the second epoch counts, of any length."""
    turns: Turns = {name: [] for name in recipes}
    for _ in range(rounds):
        for name, cfg in recipes.items():
            hook = TimeEpochs()
            run_quietly(deepcopy(cfg), hook)
            turns[name].append(Turn(hook.seconds[-1]))
    return turns


def comparisons(setting: Setting) -> Iterator[Comparison]:
    images, batch, side = QUICK if setting.quick else SIZES[setting.device]
    recipes = {name: recipe(*parts, images, batch, setting.quick) for name, parts in RUNS.items()}
    flops = {name: recipe_flops(cfg) * images for name, cfg in recipes.items()}
    against = {name: [arithmetic(name), *([VANILLA] if name != VANILLA else [])] for name in recipes}
    yield Comparison(
        f'epoch: {images:,} CIFAR-shaped images, ResNet-18, batch {batch}, bfloat16',
        beside_arithmetic(partial(take_turns, recipes), flops, side, setting.device),
        against | {arithmetic(name): [] for name in recipes},
    )
