"""OneOf: draw one of several policies for every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from openmix.algorithm import Network
from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.registry import MIXUPS, PolicyConfig, find


@MIXUPS.register_module()
class OneOf(MixPolicy):
    """Mix every batch with one child policy, drawn with the given probabilities from the CPU generator.

    DeiT's and RSB's baselines are `OneOf([Mixup(0.8), CutMix(1.0)], [0.5, 0.5])`.

    Args:
        policies: the child policies, or their registry dicts.
        probs: one probability per child, summing to 1; None: equal probabilities.

    Raises:
        InputError: there is no child, or there is not one probability per child, summing to 1.
    """

    def __init__(self, policies: Sequence[MixPolicy | PolicyConfig], probs: Sequence[float] | None = None) -> None:
        super().__init__()
        built: list[MixPolicy] = []
        if isinstance(policies, str) or not isinstance(policies, Sequence):
            raise InputError(f'OneOf: policies must be a list of policies, got {policies!r}')
        for policy in policies:
            if isinstance(policy, dict):
                find(MIXUPS, policy.get('type'))
                policy = MIXUPS.build(policy)
            built.append(policy)
        self.policies = nn.ModuleList(built)
        for policy in built:
            if not isinstance(policy, MixPolicy):
                raise InputError(f'OneOf: policies must be a list of policies, got {policy!r} in it')
        for prob in () if probs is None else probs:
            check_number('OneOf: probs', prob, 0.0, 1.0)
        probs = [1 / max(1, len(built))] * len(built) if probs is None else list(probs)
        if not built or len(probs) != len(built) or abs(sum(probs) - 1) > 1e-6:
            raise InputError(
                f'OneOf: {len(built)} policies need as many probs, probabilities that sum to 1, got {probs}'
            )
        self.probs = probs

    def choices(self) -> list[MixPolicy]:
        """Return the child policies, in the order of `probs`."""
        return [cast(MixPolicy, policy) for policy in self.policies]

    def with_choices(self, change: Callable[[MixPolicy], MixPolicy]) -> OneOf:
        return OneOf([policy.with_choices(change) for policy in self.choices()], self.probs)

    def pick(self) -> tuple[MixPolicy, str]:
        drawn = int(torch.multinomial(torch.tensor(self.probs), 1))
        return self.choices()[drawn].pick()

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        for place, policy in enumerate(self.choices()):
            for way in policy.ways():
                yield self._drawing(place, way)

    @contextmanager
    def _drawing(self, place: int, way: AbstractContextManager[None]) -> Iterator[None]:
        probs, self.probs = self.probs, [float(i == place) for i in range(len(self.probs))]
        try:
            with way:
                yield
        finally:
            self.probs = probs

    def all_sites(self) -> set[str]:
        return set().union(*(policy.all_sites() for policy in self.choices()))

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if a child has parameters that get no gradient when another child mixes the batch."""
        learned = any(parameter.requires_grad for parameter in self.parameters())
        return (learned and len(self.policies) > 1) or any(p.leaves_parameters_unused for p in self.choices())

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Draw a child and mix with it; in a training step the classifier calls the result of `pick` instead."""
        policy, _ = self.pick()
        return policy(z, context, pairs)

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        for policy in self.choices():
            policy.attach(online, encoder)

    def start(self, online: Network) -> None:
        for policy in self.choices():
            policy.start(online)

    def before_step(self, step: int, steps: int) -> None:
        for policy in self.choices():
            policy.before_step(step, steps)

    def after_step(self, online: Network) -> None:
        for policy in self.choices():
            policy.after_step(online)

    def networks(self, online: Network) -> dict[str, Network]:
        """Return the trained network as '', and the networks of every child; a momentum encoder is 'momentum'.

        With several learned children the names of the second one's networks end in '_2', and so on.
        """
        found, learned = {'': online}, 0
        for policy in self.choices():
            others = policy.networks(online)
            if len(others) > 1:
                learned += 1
                others['momentum'] = others.pop('')
                others.pop('online', None)
                found |= {name if learned == 1 else f'{name}_{learned}': one for name, one in others.items()}
        return found
