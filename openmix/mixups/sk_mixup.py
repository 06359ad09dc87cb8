"""SK Mixup, similarity kernel mixup (Bouniot et al., ICLR 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.beta_quantile import beta_quantile
from openmix.registry import MIXUPS


def similarity(one: Tensor, other: Tensor, tau_max: float, tau_std: float) -> Tensor:
    """Compute tau = tau_max exp(-(d - 1) / (2 tau_std^2)) with d, a pair's squared distance over the batch's mean.

    Args:
        one, other: (N, ...) the two samples of every pair.
        tau_max: tau of a pair of average distance; nearer pairs have a larger one.
        tau_std: how fast tau falls with the distance.

    Returns:
        (N,) float32; `tau_max` for all if no pair has a distance.
    """
    distance = (one.float() - other.float()).flatten(1).square().sum(1)
    mean = distance.mean()
    relative = torch.where(mean > 0, distance / mean, 1.0)
    return tau_max * torch.exp((1 - relative) / (2 * tau_std**2))


@MIXUPS.register_module()
class SKMixup(PairPolicy):
    """Mixup whose lam follows the similarity of the pair: similar samples are mixed more (eq. 5 to 8).

    The drawn lam is warped by the quantile function of Beta(tau, tau), where tau falls with the distance of the pair's
    embeddings (`similarity`). With alpha 1, so lam uniform, the warped lam has this distribution: about 1/2 for a pair
    that is much nearer than the others, and about 0 or 1 for one that is farther. It is the label share too.

    The embedding is the backbone's output for the clean images, which costs a forward pass, in evaluation mode.

    *Differs from the paper*: every sample has its own lam, where the published runs draw one per batch before the
    warping (`share='batch'`). tau is limited to [0.001, 1000].

    Args:
        alpha, share, lam_range, fold, sites, self_pairs: see `PairPolicy`; of the drawn lam, before it is warped.
        tau_max: tau of a pair of average distance.
        tau_std: how fast tau falls with the distance, in units of the mean distance.
        distance: 'embedding', or 'input': of the mixed tensors themselves, which needs no context.

    Raises:
        InputError: bad option; in forward, no context with a network, or one of another batch.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
        tau_max: float = 1.0,
        tau_std: float = 0.5,
        distance: str = 'embedding',
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, sites, self_pairs)
        check_number('SKMixup: tau_max', tau_max, 0.0, above=True)
        check_number('SKMixup: tau_std', tau_std, 0.0, above=True)
        check_choice('SKMixup: distance', distance, ('embedding', 'input'))
        self.tau_max, self.tau_std, self.distance = tau_max, tau_std, distance

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        if self.held_lam is not None:
            mix = Mix.pairs(partner, self.draw_lam(n, z.device))
            return mix.blend(z), mix
        if self.distance == 'input':
            seen = z.detach()
        elif context is None or len(context.x) != len(z):
            raise InputError(
                'SKMixup measures the distance of embeddings; pass MixContext(x, network=Network(backbone, head)) of '
                f"the {len(z)} images, or take distance='input'"
            )
        else:
            seen = context.embeddings()
        tau = similarity(seen[:n], seen[partner], self.tau_max, self.tau_std)
        mix = Mix.pairs(partner, beta_quantile(self.draw_lam(n, z.device), tau))
        return mix.blend(z), mix

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, tau_max={self.tau_max}, tau_std={self.tau_std}, distance={self.distance!r}'
