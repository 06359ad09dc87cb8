"""The losses alone, against one training step of ResNet-18 (CIFAR stem) at batch 100."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.timing import Candidate
from openmix import losses
from openmix.mix import Mix
from openmix.registry import LOSSES, MODELS


def _step(classes: int, device: str) -> Candidate:
    backbone = MODELS.build(dict(type='CIFARResNet', depth=18))
    net = nn.Sequential(backbone, nn.Linear(backbone.num_features, classes)).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(100, 3, 32, 32, device=device)
    y = torch.randint(classes, (100,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def _loss(loss: Callable, classes: int, device: str) -> Candidate:
    logits = torch.randn(100, classes, device=device, requires_grad=True)
    y = torch.randint(classes, (100,), device=device)
    mix = Mix.pairs(torch.randperm(100, device=device), torch.rand(100, device=device))
    return lambda: loss(logits, y, mix).backward()


def candidates(device: str) -> Iterator[tuple[str, dict[str, Candidate]]]:
    classes = 100
    alone = {name: _loss(LOSSES.build(dict(type=name)), classes, device) for name in sorted(losses.__all__)}
    yield 'loss forward and backward, batch 100, 100 classes', {'training step': _step(classes, device), **alone}
