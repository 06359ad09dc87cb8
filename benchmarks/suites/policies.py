"""Every static policy alone, per sample and per batch, against Mixup with one lam a batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.timing import Candidate
from openmix.mixups import MixPolicy, PairPolicy, Probe
from openmix.registry import MIXUPS

SHAPES = ((100, 3, 32, 32), (32, 3, 224, 224))


def _call(policy: MixPolicy, x: torch.Tensor) -> Candidate:
    # A new probe a call: what it caches would hide the cost of asking.
    return lambda: policy(x, Probe(x))


def candidates(device: str) -> Iterator[tuple[str, dict[str, Candidate]]]:
    pairs = {name: cls for name, cls in MIXUPS.module_dict.items() if issubclass(cls, PairPolicy)}
    names = sorted(pairs, key=lambda name: (name != 'Mixup', name))
    for shape in SHAPES:
        x = torch.rand(*shape, device=device)
        kinds = [(name, share) for name in names for share in ('batch', 'sample')]
        runs = {f'{name} / {share}': _call(pairs[name](share=share), x) for name, share in kinds}
        yield f'policies {"x".join(map(str, shape))}', runs
