"""The losses alone, forward and backward, compared with a training step of ResNet-18 (CIFAR stem) at batch 100."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.setting import Setting
from benchmarks.suites.step import plain_step
from benchmarks.timing import Candidate, Comparison, alternating
from openmix import losses
from openmix.mix import Mix
from openmix.registry import LOSSES

CLASSES = 100


def _alone(loss: Callable, n: int, device: str) -> Candidate:
    logits = torch.randn(n, CLASSES, device=device, requires_grad=True)
    y = torch.randint(CLASSES, (n,), device=device)
    mix = Mix.pairs(torch.randperm(n, device=device), torch.rand(n, device=device))
    return lambda: loss(logits, y, mix).backward()


def comparisons(setting: Setting) -> Iterator[Comparison]:
    n = 2 if setting.quick else 100
    runs = {'plain training step': plain_step(n, CLASSES, setting.device)}
    runs |= {name: _alone(LOSSES.build(dict(type=name)), n, setting.device) for name in sorted(losses.__all__)}
    yield Comparison(f'loss: forward and backward, batch {n}, {CLASSES} classes', alternating(runs))
