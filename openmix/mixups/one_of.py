"""OneOf: draw one of several policies a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, Probe
from openmix.registry import MIXUPS, find


@MIXUPS.register_module()
class OneOf(MixPolicy):
    """One child policy a batch, drawn with the given probabilities on the CPU generator.

    DeiT's and RSB's baselines are `OneOf([Mixup(0.8), CutMix(1.0)], [0.5, 0.5])`.

    Args:
        policies: the children, as policies or as registry dicts.
        probs: one probability a child, summing to 1; None: equal.

    Raises:
        InputError: there is no child, or the probabilities do not fit.
    """

    def __init__(self, policies: Sequence[MixPolicy | dict], probs: Sequence[float] | None = None) -> None:
        super().__init__()
        built: list[MixPolicy] = []
        for policy in policies:
            if isinstance(policy, dict):
                find(MIXUPS, policy.get('type'))
                policy = MIXUPS.build(policy)
            built.append(policy)
        self.policies = nn.ModuleList(built)
        probs = [1 / max(1, len(built))] * len(built) if probs is None else list(probs)
        if not built or len(probs) != len(built) or min(probs) < 0 or abs(sum(probs) - 1) > 1e-6:
            raise InputError(f'OneOf: {len(built)} policies need as many probabilities that sum to 1, got {probs}')
        self.probs = probs

    def choices(self) -> list[MixPolicy]:
        """The children, in the order of `probs`."""
        return [cast(MixPolicy, policy) for policy in self.policies]

    def pick(self) -> tuple[MixPolicy, str]:
        drawn = int(torch.multinomial(torch.tensor(self.probs), 1))
        return self.choices()[drawn].pick()

    def all_sites(self) -> set[str]:
        return set().union(*(policy.all_sites() for policy in self.choices()))

    def forward(self, z: Tensor, probe: Probe | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Mix with a drawn child; in a training step the classifier calls the picked child itself."""
        policy, _ = self.pick()
        return policy(z, probe, pairs)

    def attach(self, model: nn.Module) -> None:
        for policy in self.choices():
            policy.attach(model)

    def after_step(self, model: nn.Module) -> None:
        for policy in self.choices():
            policy.after_step(model)
