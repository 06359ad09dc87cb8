"""Policies that ask the model: a training step against a vanilla one, and PuzzleMix's mixing by itself."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.errors import InputError
from openmix.mixups import MixPolicy, Mixup, PairPolicy, Probe, PuzzleMix
from openmix.registry import MIXUPS, MODELS

BLOCK_NUMS = (2, 4, 8, 16)


class GivenSaliency(Probe):
    """A probe that runs no model."""

    def __init__(self, x: Tensor, given: Tensor) -> None:
        super().__init__(x)
        self.given = given

    def saliency(self, training: bool = False, keep_loss: bool = False) -> Tensor:
        return self.given


def _asks(policy: MixPolicy) -> bool:
    x = torch.rand(2, 3, 32, 32)
    try:
        policy(x, Probe(x))
    except InputError:
        return True
    return False


def _dynamic() -> list[str]:
    """The pair policies that do not mix without a model."""
    return [name for name, cls in MIXUPS.module_dict.items() if issubclass(cls, PairPolicy) and _asks(cls())]


def _step(policy: dict, x: Tensor, y: Tensor, classes: int) -> Candidate:
    recipe = dict(
        type='MixClassifier',
        backbone=dict(type='CIFARResNet', depth=18),
        head=dict(type='LinearHead', num_classes=classes),
        policy=policy,
    )
    model = MODELS.build(recipe).to(x.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        sum(model.loss(x, y).values()).backward()
        optimizer.step()
        model.policy.after_step(model)

    return step


def _mix(policy: MixPolicy, x: Tensor, saliency: Tensor) -> Candidate:
    return lambda: policy(x, GivenSaliency(x, saliency))


def comparisons(setting: Setting) -> Iterator[Comparison]:
    n, classes = 2 if setting.quick else 100, 100
    x = torch.rand(n, 3, 32, 32, device=setting.device)
    y = torch.randint(classes, (n,), device=setting.device)
    policies = {'vanilla': dict(type='NoMix')} | {name: dict(type=name, share='batch') for name in sorted(_dynamic())}
    steps = {name: _step(policy, x, y, classes) for name, policy in policies.items()}
    yield Comparison(f'dynamic: training step of ResNet-18 (CIFAR stem), batch {n}', alternating(steps))
    # A few bright spots an image, as a gradient has them.
    saliency = torch.rand(n, 32, 32, device=setting.device) ** 4
    runs = {'Mixup': _mix(Mixup(share='batch'), x, saliency)}
    for block_num in BLOCK_NUMS:
        policy, still = (PuzzleMix(share='batch', block_nums=[block_num], transport=each) for each in (True, False))
        runs[f'{block_num} x {block_num} blocks'] = _mix(policy, x, saliency)
        runs[f'{block_num} x {block_num} blocks, not moved'] = _mix(still, x, saliency)
    yield Comparison(f'dynamic: PuzzleMix after its saliency, {n} x 3 x 32 x 32', alternating(runs))
