"""Policies that run the model: a training step compared with vanilla training, and the mixing of PuzzleMix alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from benchmarks.memory import peaks
from benchmarks.setting import Setting
from benchmarks.steps import classifier_step
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.errors import InputError
from openmix.mixups import MixContext, MixPolicy, Mixup, PairPolicy, PuzzleMix
from openmix.mixups.patch_attention import AttendedPolicy
from openmix.registry import MIXUPS

BLOCK_NUMS = (2, 4, 8, 16)


class GivenSaliency(MixContext):
    """A context with a given saliency, which does not run a model."""

    def __init__(self, x: Tensor, given: Tensor) -> None:
        super().__init__(x)
        self.given = given

    def saliency(self, training: bool = False, keep_loss: bool = False) -> Tensor:
        return self.given


def _asks(policy: MixPolicy) -> bool:
    x = torch.rand(2, 3, 32, 32)
    try:
        policy(x, MixContext(x))
    except InputError:
        return True
    return False


def _dynamic() -> list[str]:
    """List the pair policies that cannot mix without a model, but for those of transformers: the network is none."""
    kinds = {name: cls for name, cls in MIXUPS.module_dict.items() if issubclass(cls, PairPolicy)}
    return [name for name, cls in kinds.items() if not issubclass(cls, AttendedPolicy) and _asks(cls())]


def _train(policy: dict, n: int, classes: int, device: str) -> None:
    """Train two steps; from the second on, the optimiser's state takes memory too."""
    init_default_scope('openmix')
    x, y = torch.rand(n, 3, 32, 32, device=device), torch.randint(classes, (n,), device=device)
    step = classifier_step(policy, x, y, classes)
    for _ in range(2):
        step()


def _mix(policy: MixPolicy, x: Tensor, saliency: Tensor) -> Candidate:
    return lambda: policy(x, GivenSaliency(x, saliency))


def comparisons(setting: Setting) -> Iterator[Comparison]:
    n, classes = 2 if setting.quick else 100, 100
    x = torch.rand(n, 3, 32, 32, device=setting.device)
    y = torch.randint(classes, (n,), device=setting.device)
    policies = {'vanilla': dict(type='NoMix')} | {name: dict(type=name, share='batch') for name in sorted(_dynamic())}
    steps = {name: classifier_step(policy, x, y, classes) for name, policy in policies.items()}
    yield Comparison(f'dynamic: training step of ResNet-18 (CIFAR stem), batch {n}', alternating(steps))
    steps = {name: classifier_step(policy, x, y, classes, torch.channels_last) for name, policy in policies.items()}
    yield Comparison(f'dynamic: the same in channels-last memory, batch {n}', alternating(steps))
    del steps
    watched = list(policies)[: 2 if setting.quick else None]
    yield Comparison(
        f'dynamic: peak memory of a process that trains so, batch {n}',
        peaks({name: (_train, policies[name], n, classes, setting.device) for name in watched}),
        unit='MB',
    )
    # A few large values per image, as in the gradient of a loss.
    saliency = torch.rand(n, 32, 32, device=setting.device) ** 4
    runs = {'Mixup': _mix(Mixup(share='batch'), x, saliency)}
    for block_num in BLOCK_NUMS:
        policy, still = (PuzzleMix(share='batch', block_nums=[block_num], transport=each) for each in (True, False))
        runs[f'{block_num} x {block_num} blocks'] = _mix(policy, x, saliency)
        runs[f'{block_num} x {block_num} blocks, not moved'] = _mix(still, x, saliency)
    yield Comparison(f'dynamic: PuzzleMix after its saliency, {n} x 3 x 32 x 32', alternating(runs))
