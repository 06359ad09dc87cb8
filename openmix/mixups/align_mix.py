"""AlignMixup (Venkataramanan et al., CVPR 2022)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.precision import full_precision
from openmix.ops.sinkhorn import transport_plan
from openmix.registry import MIXUPS


def aligned(own: Tensor, other: Tensor, epsilon: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Align the features of both images with each other, by optimal transport of their positions (eq. 5 to 8).

    A feature at each position is replaced by a weighted mean of the same image's features, of those that match the
    other image's feature there; the weights are those of the transport plan. No gradient passes through the plan.

    Args:
        own, other: (N, C, P) features at P positions.
        epsilon, iterations: see `transport_plan`; the cost is the squared distance of two features.

    Returns:
        (N, C, P) `own` at the positions of `other`, and `other` at the positions of `own`.
    """
    with full_precision(own):
        left, right = own.detach().float().mT, other.detach().float().mT
        cost = torch.cdist(left, right, compute_mode='donot_use_mm_for_euclid_dist').square()
        plan = transport_plan(cost, epsilon, iterations)
        # Exact means, also where the iterations have not converged.
        to_other = (plan / plan.sum(1, keepdim=True)).to(own.dtype)
        to_own = (plan / plan.sum(2, keepdim=True)).to(own.dtype)
        return own @ to_other, other @ to_own.mT


@MIXUPS.register_module()
class AlignMix(PairPolicy):
    """Interpolate the last feature maps of pairs, after one of both is aligned with the other (AlignMixup, eq. 9).

    One site is drawn per batch. At '' the images are interpolated, as by Mixup. At any other, the features of one image
    are rearranged to match those of the other position by position, as a transport plan with entropy says, and then
    interpolated: pose and background come from one image, texture from both. Which one keeps its positions is drawn.
    The label share is the drawn lam. A policy that is called by hand draws a site too, and takes its argument for the
    tensor there.

    *Differs from the paper*: every sample has its own lam and direction; the published runs draw one per batch
    (`share='batch'`). Sinkhorn takes a fixed number of iterations, while the released code stops when an update is
    small, which a GPU would wait for; the plan's rows or columns are then scaled to sums of exactly 1. The autoencoder
    of the paper's AlignMixup/AE is left out.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`.
        sites: where to mix, one drawn per batch: '' for images, else modules that put out feature maps.
        epsilon: weight of the entropy of the plan; > 0.
        iterations: of Sinkhorn; >= 1.

    Raises:
        InputError: an argument is out of range; in forward, the tensor of a site is not (N, C, h, w).
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 2.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('', 'layer4'),
        epsilon: float = 0.1,
        iterations: int = 100,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, sites, self_pairs)
        check_number('AlignMix: epsilon', epsilon, 0.0, above=True)
        check_number('AlignMix: iterations', iterations, 1)
        self.epsilon, self.iterations = epsilon, iterations
        self._drawn: str | None = None

    def pick(self) -> tuple[MixPolicy, str]:
        """Return a copy that knows the site that was drawn, and the site."""
        picked = copy.copy(self)
        _, picked._drawn = super().pick()
        return picked, picked._drawn

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        if self._drawn is None:
            return self.pick()[0](z, context, pairs)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        mix = Mix.pairs(partner, lam)
        if self._drawn == '':
            return mix.blend(z), mix
        self.height_and_width(z)
        own, other = z[:n].flatten(2), z[partner].flatten(2)
        moved_own, moved_other = aligned(own, other, self.epsilon, self.iterations)
        stays = torch.rand(1 if self.share == 'batch' else n, device=z.device)[:, None, None] < 0.5
        one, two = torch.where(stays, own, moved_own), torch.where(stays, moved_other, other)
        return torch.lerp(two, one, lam.to(z.dtype)[:, None, None]).unflatten(2, z.shape[2:]), mix
