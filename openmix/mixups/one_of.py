"""OneOf: draw one of several policies for every batch, or for every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from typing import cast

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import Network
from openmix.registry import MIXUPS, PolicyConfig, find


@MIXUPS.register_module()
class OneOf(MixPolicy):
    """Mix with one child policy, drawn with the given probabilities.

    For a batch it is drawn from the CPU generator. For every sample (`share='sample'`) it is drawn on the device of the
    batch: each child mixes the whole batch, with the same partners, and each sample takes the result of its own child.

    With several processes each draws its own child. So with `sync_bn` a training stalls where one child runs the
    network in training mode oftener than another, as for a `clean_weight`.

    DeiT's and RSB's baselines are `OneOf([Mixup(0.8), CutMix(1.0)], [0.5, 0.5])`.

    Args:
        policies: the child policies, or their registry dicts.
        probs: one probability per child, summing to 1; None: equal probabilities.
        share: 'batch' draws one child for the whole batch; 'sample' draws one for each sample.

    Raises:
        InputError: there is no child, there is not one probability per child, summing to 1, or a child cannot be drawn
            for single samples: it mixes features, trains on clean images, or draws other partners than the others.
    """

    def __init__(
        self,
        policies: Sequence[MixPolicy | PolicyConfig],
        probs: Sequence[float] | None = None,
        share: str = 'batch',
    ) -> None:
        super().__init__()
        check_choice('OneOf: share', share, ('batch', 'sample'))
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
        self.probs, self.share = probs, share
        if share == 'sample':
            self._check_for_samples(built)

    @staticmethod
    def _check_for_samples(built: Sequence[MixPolicy]) -> None:
        for policy in built:
            name = type(policy).__name__
            if policy.all_sites() != {''}:
                raise InputError(f"OneOf: {name} mixes features, which share='sample' cannot; take share='batch'")
            if policy.own_pairs:
                raise InputError(f"OneOf: {name} chooses the partners of a batch; take share='batch'")
            if policy.clean_weight:
                raise InputError(f"OneOf: {name} trains on clean images too, by whole batches; take share='batch'")
            if any(isinstance(one, MixPolicy) and one.adds_losses for one in policy.modules()):
                raise InputError(f"OneOf: {name} adds losses of the mixed images, of whole batches; take share='batch'")
        if len({policy.self_pairs for policy in built if isinstance(policy, PairPolicy)}) > 1:
            raise InputError("OneOf: share='sample' draws one partner for all policies; give them the same self_pairs")

    def choices(self) -> list[MixPolicy]:
        """Return the child policies, in the order of `probs`."""
        return [cast(MixPolicy, policy) for policy in self.policies]

    def with_choices(self, change: Callable[[MixPolicy], MixPolicy]) -> OneOf:
        return OneOf([policy.with_choices(change) for policy in self.choices()], self.probs, self.share)

    def pick(self) -> tuple[MixPolicy, str]:
        if self.share == 'sample':
            return self, ''
        drawn = int(torch.multinomial(torch.tensor(self.probs), 1))
        return self.choices()[drawn].pick()

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        if self.share == 'sample':  # every child runs in every step
            yield nullcontext()
            return
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

    def attention_sites(self) -> set[str]:
        if self.share == 'sample':
            return set()
        return set().union(*(policy.attention_sites() for policy in self.choices()))

    def output_sites(self) -> set[str]:
        return set().union(*(policy.output_sites() for policy in self.choices()))

    @property
    def own_pairs(self) -> bool:
        """True if a child chooses partners."""
        return any(policy.own_pairs for policy in self.choices())

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if a child has parameters that get no gradient when another child mixes the batch."""
        learned = any(parameter.requires_grad for parameter in self.parameters())
        return (learned and len(self.policies) > 1) or any(p.leaves_parameters_unused for p in self.choices())

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Draw a child and mix with it; in a training step the classifier calls the result of `pick` instead."""
        if self.share == 'sample':
            return self._mixed_by_samples(z, context, pairs)
        policy, _ = self.pick()
        return policy(z, context, pairs)

    def _mixed_by_samples(self, z: Tensor, context: MixContext | None, pairs: Tensor | None) -> tuple[Tensor, Mix]:
        drawer = next((policy for policy in self.choices() if isinstance(policy, PairPolicy)), self)
        partner = drawer.draw_pairs(z, pairs)
        n = len(partner)
        drawn = torch.rand(n, device=z.device)
        # A forward pass of the batch would show a child the images of others.
        with nullcontext() if context is None else context.settling(later=False):
            found = [policy(z, context, partner) for policy in self.choices()]
        for policy, (_, mix) in zip(self.choices(), found):
            if mix.source.shape[0] != n or mix.source.shape[1] > 2:
                raise InputError(f"OneOf: {type(policy).__name__} makes no pairs; take share='batch'")
        out, weight, mask = found[0][0], _pair_weight(found[0][1]), _pixel_share(found[0][1], z)
        whole = all(mix.mask is None for _, mix in found)
        for above, (mixed, mix) in zip(accumulate(self.probs), found[1:]):
            taken = drawn >= above
            out = torch.where(taken.view(-1, *[1] * (z.dim() - 1)), mixed, out)
            weight = torch.where(taken[:, None], _pair_weight(mix), weight)
            mask = mask if whole else torch.where(taken[:, None, None, None], _pixel_share(mix, z), mask)
        own = torch.arange(n, device=z.device)
        return out, Mix(torch.stack([own, partner], 1), weight, None if whole else mask)

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        for policy in self.choices():
            policy.attach(online, encoder)
        if self.share == 'sample' and any(parameter.requires_grad for parameter in self.parameters()):
            raise InputError("OneOf: a learned policy is trained by whole batches; take share='batch'")

    def read_counts(self, counts: Tensor) -> None:
        for policy in self.choices():
            policy.read_counts(counts)

    def start(self, online: Network) -> None:
        for policy in self.choices():
            policy.start(online)

    def before_epoch(self, epoch: int) -> None:
        """Tell every child; several processes draw apart, so none may remember the batches of all.

        Raises:
            InputError: there are several processes and several children, of which one mixes with earlier batches.
        """
        if len(self.policies) > 1 and get_world_size() > 1:
            for policy in self.modules():
                if isinstance(policy, MixPolicy) and policy.remembers:
                    raise InputError(
                        f'OneOf: {type(policy).__name__} remembers the batches of all processes, and each process '
                        'draws its own child; train in one process, or take it alone'
                    )
        for policy in self.choices():
            policy.before_epoch(epoch)

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


def _pixel_share(mix: Mix, z: Tensor) -> Tensor:
    """Return the (N, 1, H, W) or (N, 1, 1, 1) share of the sample itself in every pixel."""
    return mix.lam[:, None, None, None] if mix.mask is None else mix.mask.float()


def _pair_weight(mix: Mix) -> Tensor:
    """Return the (N, 2) label weights of the sample and of its partner, which has none in a clean batch."""
    return mix.weight if mix.weight.shape[1] == 2 else torch.cat([mix.weight, 1 - mix.weight], 1)
