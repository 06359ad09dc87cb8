"""Remix (Chou et al., ECCV 2020 workshops): the label of a mixed image goes to the class with few training images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import HasClasses, Network
from openmix.registry import MIXUPS, PolicyConfig, find

_NOT_COUNTED = -1


def rebalanced(weight: Tensor, counts: Tensor, kappa: float, tau: float) -> Tensor:
    """Give the whole label to the class with few images, where the other has kappa times as many (eq. 10).

    Args:
        weight: (N, 2) label shares of the sample and its partner.
        counts: (N, 2) training images of the class of each.
        kappa: a class with kappa times as many images as the other is the majority of the pair; >= 1.
        tau: the minority has the whole label where the majority's share is below tau; in [0, 1].

    Returns:
        (N, 2) label shares; rows to which the rule does not apply stay as they are.
    """
    images = counts.to(weight.dtype)
    # Classes of equally many images are no majority of each other, also with kappa = 1.
    majority = (images >= kappa * images.flip(1)) & (images > images.flip(1))
    loses = majority & (weight < tau)
    return torch.where(loses, 0.0, torch.where(loses.flip(1), 1.0, weight))


@MIXUPS.register_module()
class Remix(MixPolicy):
    """Mix images with a policy of pairs, and give the minority class of a pair the whole label (section 4, eq. 10).

    The sample's label share is 0 if its class has at least `kappa` times as many training images as the partner's and
    its share is below `tau`; 1 if the partner's class has that many more and the partner's share is below `tau`; else
    that of the policy. The images are mixed as ever, and `Mix.mask` says by which shares. With `Mixup` this is the
    paper's Remix, with its `sites` of hidden features Remix-MM, with `CutMix` Remix-CM.

    A training counts the images of every class; in a loop of your own give them as `class_counts`.

    *Differs from the paper*: every pair has its own lam, as the policy draws it; the paper draws one for a batch
    (`share='batch'`). Classes of equally many images are never set, which matters for `kappa=1` alone.

    Args:
        policy: a policy of pairs that is not learned, or its registry dict.
        kappa: how many times as many images make a class the majority of a pair; >= 1, 3 in the paper.
        tau: the share of the majority below which the minority has the whole label; in [0, 1], 0.5 in the paper.
        class_counts: (C,) training images of every class; None: those of the training data.

    Raises:
        InputError: not such a policy, or a bad option; in attach, the head tells no number of classes, and there are no
            `class_counts`, or not one for each; in forward, no labels, labels that are no classes, or no counts.
    """

    of_training = frozenset({'class_counts'})
    class_counts: Tensor | None

    def __init__(
        self,
        policy: MixPolicy | PolicyConfig,
        kappa: float = 3.0,
        tau: float = 0.5,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        if isinstance(policy, dict):
            find(MIXUPS, policy.get('type'))
            policy = MIXUPS.build(policy)
        if not isinstance(policy, PairPolicy):
            raise InputError(f'Remix: policy must be one of pairs with a lam, got {type(policy).__name__}')
        check_number('Remix: kappa', kappa, 1.0)
        check_number('Remix: tau', tau, 0.0, 1.0)
        for count in () if class_counts is None else class_counts:
            check_number('Remix: class_counts', count, 0)
        super().__init__(policy.sites)
        self.policy, self.kappa, self.tau = policy, kappa, tau
        self.clean_weight, self.is_given = policy.clean_weight, class_counts is not None
        self.register_buffer('class_counts', None if class_counts is None else torch.tensor(list(class_counts)))

    def read_counts(self, counts: Tensor) -> None:
        """Take the images of every class, (C,) int64, unless `class_counts` were given."""
        if self.is_given:
            return
        if self.class_counts is None:
            self.class_counts = counts.clone()
        else:
            self.class_counts.zero_()[: len(counts)] = counts.to(self.class_counts.device)

    def pick(self) -> tuple[MixPolicy, str]:
        """Draw the site as the policy does, which may know from then on where it mixes."""
        picked, site = self.policy.pick()
        return self if picked is self.policy else self._of(picked), site

    def _of(self, policy: MixPolicy) -> Remix:
        found = Remix(policy, self.kappa, self.tau)
        found.class_counts = self.class_counts
        return found

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        return self.policy.ways()

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        if context is None or context.y is None or len(context.y) != len(z):
            raise InputError(f'Remix reads the labels of the {len(z)} samples; pass MixContext(x, y)')
        if context.y.is_floating_point():
            raise InputError('Remix is for labels that are classes, (M,) int64, and not for class probabilities')
        if self.class_counts is None:
            raise InputError('Remix needs the number of training images of every class; give class_counts=[...]')
        mixed, mix = self.policy(z, context, pairs)
        if mix.mask is None:  # the label shares are those of the pixels no more
            mix = Mix(mix.source, mix.weight, mix.lam.view(-1, *[1] * (z.dim() - 1)).expand(-1, 1, *z.shape[2:]))
        return mixed, mix if context.settles_later else self._rebalanced(mix, context)

    def _rebalanced(self, mix: Mix, context: MixContext) -> Mix:
        assert self.class_counts is not None
        assert context.y is not None
        counts = self.class_counts[context.y[mix.source]]
        return Mix(mix.source, rebalanced(mix.weight, counts, self.kappa, self.tau), mix.mask)

    def attention_sites(self) -> set[str]:
        return self.policy.attention_sites()

    def settled(self, mix: Mix, context: MixContext, seen: MixContext) -> Mix:
        return self._rebalanced(self.policy.settled(mix, context, seen), context)

    @property
    def own_pairs(self) -> bool:
        """True if the policy chooses partners."""
        return self.policy.own_pairs

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        self.policy.attach(online, encoder)
        if any(parameter.requires_grad for parameter in self.parameters()):
            raise InputError(f'Remix: {type(self.policy).__name__} is learned; take a policy without parameters')
        classes = online.head.num_classes if isinstance(online.head, HasClasses) else None
        if classes is None:
            if self.class_counts is None:
                name = type(online.head).__name__
                raise InputError(f'Remix: {name} has no num_classes, which are counted; give class_counts=[...]')
            return
        if self.class_counts is None:
            # Of the size that a checkpoint has; `before_epoch` refuses to train with these.
            self.class_counts = torch.full((classes,), _NOT_COUNTED)
        elif self.is_given and len(self.class_counts) != classes:
            raise InputError(f'Remix: class_counts has {len(self.class_counts)} numbers, the head {classes} classes')

    def before_epoch(self, epoch: int) -> None:
        """Check that the images of every class were counted.

        Raises:
            InputError: they were not.
        """
        if self.class_counts is not None and int(self.class_counts[0]) == _NOT_COUNTED:
            raise InputError('Remix: this algorithm does not count the images of every class; give class_counts=[...]')

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        return self.policy.maps(context, mix)

    def extra_repr(self) -> str:
        return f'kappa={self.kappa}, tau={self.tau}'
