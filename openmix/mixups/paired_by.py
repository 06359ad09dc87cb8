"""PairedBy: the partner is drawn by the labels, for any policy of pairs; C-Mixup (Yao et al., NeurIPS 2022) is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import Network
from openmix.registry import MIXUPS, PolicyConfig, find

# The weight (N, M) of every sample as a partner of every sample, from the labels y and the bandwidth.
_WEIGHTS: dict[str, Callable[[Tensor, float], Tensor]] = {}


def _strategy(function: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    _WEIGHTS[function.__name__] = function
    return function


@_strategy
def same_class(y: Tensor, bandwidth: float) -> Tensor:
    """Weigh the samples of one class alone."""
    classes = _classes(y)
    return (classes[:, None] == classes).float()


@_strategy
def other_class(y: Tensor, bandwidth: float) -> Tensor:
    """Weigh the samples of all other classes alone."""
    return 1 - same_class(y, bandwidth)


@_strategy
def class_balance(y: Tensor, bandwidth: float) -> Tensor:
    """Weigh a sample by one over the number of its class in the batch, so that every class is as likely."""
    counts = same_class(y, bandwidth).sum(0)
    return (1 / counts).expand(len(y), -1)


@_strategy
def label_distance(y: Tensor, bandwidth: float) -> Tensor:
    """Weigh a sample by exp(-d^2 / (2 bandwidth^2)), with the Euclidean distance d of both labels (C-Mixup, eq. 6)."""
    if not y.is_floating_point():
        raise InputError(
            "PairedBy: by='label_distance' is for labels that are numbers, (M, D) floats; classes have no distance, "
            "take by='same_class'"
        )
    numbers = y.float()
    squared = (numbers[:, None] - numbers).square().sum(2)
    # Only ratios count: the nearest other label has weight 1, so that far labels do not all underflow to 0.
    nearest = squared.masked_fill(torch.eye(len(y), dtype=torch.bool, device=y.device), torch.inf).amin(1, keepdim=True)
    return torch.exp((nearest.nan_to_num(posinf=0.0) - squared) / (2 * bandwidth**2)).clamp_max(1e30)


def _classes(y: Tensor) -> Tensor:
    """Return (M,) int64 classes; class probabilities (M, C) are replaced by their argmax."""
    return y.argmax(1) if y.is_floating_point() else y


def draw_partners(weight: Tensor, self_pairs: bool) -> Tensor:
    """Draw (N,) int64 partners, m for n with a probability proportional to weight[n, m]; no GPU sync.

    Args:
        weight: (N, N), not negative.
        self_pairs: a row may be its own partner. False: it is only where no other has a weight.
    """
    own = torch.eye(len(weight), dtype=torch.bool, device=weight.device)
    if not self_pairs:
        weight = weight.masked_fill(own, 0)
    # The first of exponential clocks that run at these rates; a sample without any partner takes itself.
    first = torch.empty_like(weight).exponential_() / weight
    alone = (weight == 0).all(1)
    return torch.where(alone, torch.arange(len(weight), device=weight.device), first.argmin(1))


@MIXUPS.register_module()
class PairedBy(MixPolicy):
    """Mix with a policy of pairs whose partners are drawn from the batch by the labels, not as a random permutation.

    `PairedBy(dict(type='Mixup', alpha=2.0), by='label_distance', bandwidth=1.0)` is C-Mixup, for labels that are
    numbers: near labels are mixed, since between far ones an average of images need not have the average label.
    'class_balance' gives every class of the batch as many partners, for long-tailed data, as Balanced-MixUp (Galdran et
    al., MICCAI 2021) does. Pairs that are given in a call are kept; algorithms that give them refuse the policy.

    *Differs from the paper*: C-Mixup draws partners from the whole training set, with probabilities that are computed
    before; in a variant of the released code from a second batch. Balanced-MixUp has a second loader, and lam ~
    Beta(alpha, 1) as the share of the balanced image, alpha / (1 + alpha) on average; here lam is the policy's, as
    Beta(alpha, alpha). Here partners are drawn from the batch, and a sample is not its own partner.

    Args:
        policy: a policy of pairs that is not learned, or its registry dict.
        by: 'same_class', 'other_class', 'class_balance' or 'label_distance'.
        bandwidth: of 'label_distance', in units of the labels.
        self_pairs: a sample may be its own partner. Where it has no other, as one alone in its class, it is.

    Raises:
        InputError: not such a policy, or a bad option; in forward, a context without labels or with those of another
            batch, or labels that are no numbers for 'label_distance'.
    """

    def __init__(
        self,
        policy: MixPolicy | PolicyConfig,
        by: str,
        bandwidth: float = 1.0,
        self_pairs: bool = False,
    ) -> None:
        if isinstance(policy, dict):
            find(MIXUPS, policy.get('type'))
            policy = MIXUPS.build(policy)
        if not isinstance(policy, PairPolicy):
            raise InputError(f'PairedBy: policy must be one of pairs with a lam, got {type(policy).__name__}')
        if not policy.self_pairs:
            raise InputError('PairedBy draws the partners; leave self_pairs out of its policy, and give it to PairedBy')
        check_choice('PairedBy: by', by, _WEIGHTS)
        check_number('PairedBy: bandwidth', bandwidth, 0.0, above=True)
        super().__init__(policy.sites)
        self.policy, self.by, self.bandwidth, self.self_pairs = policy, by, bandwidth, self_pairs
        self.clean_weight = policy.clean_weight

    @property
    def own_pairs(self) -> bool:
        """True."""
        return True

    def pick(self) -> tuple[MixPolicy, str]:
        """Draw the site as the policy does, which may know from then on where it mixes."""
        picked, site = self.policy.pick()
        return self if picked is self.policy else self._of(picked), site

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        return self.policy.ways()

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        if pairs is None:
            y = None if context is None else context.y if context.numbers is None else context.numbers
            if y is None or len(y) != len(z):
                raise InputError(f'PairedBy reads the labels of the {len(z)} samples; pass MixContext(x, y)')
            if context is not None and context.numbers is not None and self.by != 'label_distance':
                raise InputError(f"PairedBy: by='{self.by}' is for classes, not for numbers; take by='label_distance'")
            pairs = draw_partners(_WEIGHTS[self.by](y, self.bandwidth), self.self_pairs)
        return self.policy(z, context, pairs)

    def attention_sites(self) -> set[str]:
        return self.policy.attention_sites()

    def output_sites(self) -> set[str]:
        return self.policy.output_sites()

    def settled(self, mix: Mix, context: MixContext, seen: MixContext) -> Mix:
        return self.policy.settled(mix, context, seen)

    def within(self, low: float, high: float) -> PairedBy:
        return self._of(self.policy.within(low, high))

    def _of(self, policy: MixPolicy) -> PairedBy:
        return PairedBy(policy, self.by, self.bandwidth, self.self_pairs)

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        self.policy.attach(online, encoder)
        if any(parameter.requires_grad for parameter in self.parameters()):
            raise InputError(f'PairedBy: {type(self.policy).__name__} is learned, and draws pairs for its own losses')

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        return self.policy.maps(context, mix)

    def extra_repr(self) -> str:
        return f'by={self.by!r}, bandwidth={self.bandwidth}, self_pairs={self.self_pairs}'
