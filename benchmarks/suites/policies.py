"""Every static policy alone, with lam per sample and per batch, compared with Mixup, timm and OpenMixup."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import timm.data
import torch
from torch import Tensor

from benchmarks.peer import peer_functions
from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.errors import InputError
from openmix.mixups import MixContext, MixPolicy, PairPolicy
from openmix.registry import MIXUPS

SHAPES = ((100, 3, 32, 32), (32, 3, 224, 224))
QUICK = ((4, 3, 32, 32),)
TIMM = {'Mixup': dict(mixup_alpha=1.0), 'CutMix': dict(mixup_alpha=0.0, cutmix_alpha=1.0)}


def _ours(policy: MixPolicy, x: Tensor) -> Candidate:
    # A new context for every call, because a context caches what it computes.
    return lambda: policy(x, MixContext(x))


def _timm(options: dict, x: Tensor, y: Tensor) -> Candidate:
    mixed = timm.data.Mixup(**options, num_classes=100)
    return lambda: mixed(x, y)


def _static() -> list[str]:
    """List the pair policies that do not need a model, Mixup first."""

    def runs(policy: MixPolicy) -> bool:
        x = torch.rand(2, 3, 32, 32)
        try:
            policy(x, MixContext(x))
        except InputError:
            return False
        return True

    names = [name for name, cls in MIXUPS.module_dict.items() if issubclass(cls, PairPolicy) and runs(cls())]
    return sorted(names, key=lambda name: (name != 'Mixup', name))


def comparisons(setting: Setting) -> Iterator[Comparison]:
    names = _static()
    peer = peer_functions(setting.peer, names) if setting.peer else {}
    for shape in QUICK if setting.quick else SHAPES:
        x = torch.rand(*shape, device=setting.device)
        y = torch.randint(100, shape[:1], device=setting.device)
        # Cloned, because timm's and some of the peer's functions write to their input.
        runs = {f'timm {name} / batch': _timm(TIMM[name], x.clone(), y) for name in TIMM}
        runs |= {f'peer {name} / batch': partial(f, x.clone(), y) for name, f in peer.items()}
        against: dict[str, list[str]] = {name: [] for name in runs}
        for name in names:
            others = [f'{whose} {name} / batch' for whose in ('timm', 'peer')]
            for share in ('batch', 'sample'):
                run = f'{name} / {share}'
                against[run] = [f'Mixup / {share}'] if name != 'Mixup' else []
                against[run] += [other for other in others if other in runs]
                runs[run] = _ours(MIXUPS.get(name)(share=share), x)
        yield Comparison(f'policies: {"x".join(map(str, shape))}', alternating(runs), against)
