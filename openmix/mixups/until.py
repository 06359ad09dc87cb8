"""Until: mix with a policy until an epoch, and train on clean images afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import Network
from openmix.registry import MIXUPS, PolicyConfig, find


@MIXUPS.register_module()
class Until(MixPolicy):
    """Mix every batch with a policy before an epoch; from that epoch on, return it clean.

    timm's `--mixup-off-epoch`. A training of openmix tells the epoch; in a loop of one's own, call `before_epoch` at
    the start of each epoch, without which the policy mixes always. In a training by iteration an epoch is one pass
    over the training data. A learned policy stays what is evaluated: its momentum encoder follows the network to the
    end.

    Args:
        policy: the policy, or its registry dict.
        epoch: the first epoch, from 0, that is not mixed; >= 0.

    Raises:
        InputError: it is no policy, or the epoch is negative.
    """

    def __init__(self, policy: MixPolicy | PolicyConfig, epoch: int) -> None:
        super().__init__()
        if isinstance(policy, dict):
            find(MIXUPS, policy.get('type'))
            policy = MIXUPS.build(policy)
        if not isinstance(policy, MixPolicy):
            raise InputError(f'Until: policy must be a policy, got {policy!r}')
        check_number('Until: epoch', epoch, 0)
        self.policy, self.epoch, self.now = policy, epoch, 0

    def before_epoch(self, epoch: int) -> None:
        self.now = epoch
        self.policy.before_epoch(epoch)

    def pick(self) -> tuple[MixPolicy, str]:
        return self.policy.pick() if self.now < self.epoch else (self, '')

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        for way in self.policy.ways():
            yield self._in_epoch(-1, way)
        yield self._in_epoch(self.epoch)

    @contextmanager
    def _in_epoch(self, epoch: int, way: AbstractContextManager[None] | None = None) -> Iterator[None]:
        now, self.now = self.now, epoch
        try:
            if way is None:
                yield
            else:
                with way:
                    yield
        finally:
            self.now = now

    def all_sites(self) -> set[str]:
        return {'', *self.policy.all_sites()}

    def attention_sites(self) -> set[str]:
        return self.policy.attention_sites()

    def output_sites(self) -> set[str]:
        return self.policy.output_sites()

    @property
    def own_pairs(self) -> bool:
        """True if the policy chooses partners."""
        return self.policy.own_pairs

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if the policy has parameters, which get no gradient in the last epochs."""
        learned = any(parameter.requires_grad for parameter in self.parameters())
        return learned or self.policy.leaves_parameters_unused

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        if self.now < self.epoch:
            return self.policy(z, context, pairs)
        n = len(z) if pairs is None else len(pairs)
        return z[:n], Mix.none(n, z.device)

    def with_choices(self, change: Callable[[MixPolicy], MixPolicy]) -> Until:
        return Until(self.policy.with_choices(change), self.epoch)

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        self.policy.attach(online, encoder)

    def read_counts(self, counts: Tensor) -> None:
        self.policy.read_counts(counts)

    def start(self, online: Network) -> None:
        self.policy.start(online)

    def before_step(self, step: int, steps: int) -> None:
        self.policy.before_step(step, steps)

    def after_step(self, online: Network) -> None:
        self.policy.after_step(online)

    def networks(self, online: Network) -> dict[str, Network]:
        return self.policy.networks(online)
