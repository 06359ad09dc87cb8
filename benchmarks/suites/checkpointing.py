"""Gradient checkpointing: time and memory of a training step with and without it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.registry import init_default_scope

from benchmarks.memory import peaks
from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.registry import MODELS

# Backbone, batch size and side of an image.
SIZES = (('resnet50', 16, 224), ('deit_small_patch16_224', 16, 224))
QUICK = (('resnet18', 2, 32),)
KINDS = {'kept': False, 'run twice': True}


def _step(name: str, n: int, side: int, checkpointed: bool, device: str) -> Candidate:
    recipe = dict(
        type='MixClassifier',
        backbone=dict(type='TimmBackbone', name=name),
        head=dict(type='LinearHead', num_classes=1000),
        policy=dict(type='NoMix'),
        grad_checkpointing=checkpointed,
    )
    model = MODELS.build(recipe).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.rand(n, 3, side, side, device=device), torch.randint(1000, (n,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(dict(inputs=x, labels=y))['loss'].backward()
        optimizer.step()

    return step


def _train(name: str, n: int, side: int, checkpointed: bool, device: str) -> None:
    """Train two steps; from the second on, the optimiser's state takes memory too."""
    init_default_scope('openmix')
    step = _step(name, n, side, checkpointed, device)
    for _ in range(2):
        step()


def comparisons(setting: Setting) -> Iterator[Comparison]:
    for size in QUICK if setting.quick else SIZES:
        title = 'checkpointing: {}, batch {}, {} px'.format(*size)
        steps = {label: _step(*size, on, setting.device) for label, on in KINDS.items()}
        yield Comparison(title, alternating(steps))
        del steps
        runs = {label: (_train, *size, on, setting.device) for label, on in KINDS.items()}
        yield Comparison(f'{title}, peak memory of a process', peaks(runs), unit='MB')
