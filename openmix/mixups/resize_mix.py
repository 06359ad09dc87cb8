"""ResizeMix (Qin et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_range
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.beta import draw_lam
from openmix.ops.boxes import box_edges, box_mask, draw_centres, resize_bilinear, resize_nearest, scaled_sizes
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS

_RESIZES = {'nearest': resize_nearest, 'bilinear': resize_bilinear}


@MIXUPS.register_module()
class ResizeMix(PairPolicy):
    """Shrink the whole partner and paste it into a random box of the sample (section 3.2).

    The box's sides are tau times the image's, tau ~ U(scope), and its centre is uniform over the
    pixels. A box that extends beyond the image is clipped and the partner is resized to the clipped box, so
    its aspect ratio can change. The label share is the share of pixels kept; a box can be empty.

    *Differs from the paper*: every sample has its own box; the published runs draw one per batch
    (`share='batch'`). The paper does not name the interpolation; the published runs use the nearest pixel.

    *Published*: with another alpha than 1, a tau outside `scope` is replaced by a uniform draw in it
    (`redraw='uniform'`), as in the released code from 2022-03-11 on; before, tau was uniform with any alpha.

    Args:
        alpha: tau is drawn from Beta(alpha, alpha), within `scope`; 1 is the paper's uniform draw.
        share, sites, self_pairs: see `PairPolicy`.
        scope: lowest and highest tau.
        interpolation: 'nearest' or 'bilinear' (without antialiasing, pixel centres aligned).
        redraw: what is drawn in place of a tau outside `scope`: 'beta': the same distribution until tau lies inside;
            'uniform': a uniform tau in `scope`.

    Raises:
        InputError: unknown interpolation or redraw, or bad scope; in forward, not an (N, C, H, W) tensor.
    """

    published = {'share': 'batch', 'redraw': 'uniform'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        scope: tuple[float, float] = (0.1, 0.8),
        interpolation: str = 'nearest',
        sites: Sequence[str] = ('',),
        redraw: str = 'beta',
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, sites=sites, self_pairs=self_pairs)
        check_range('ResizeMix: scope', scope, 0.0, 1.0)
        check_choice('ResizeMix: interpolation', interpolation, _RESIZES)
        check_choice('ResizeMix: redraw', redraw, ('beta', 'uniform'))
        low, high = scope
        self.scope, self.interpolation, self.redraw = (low, high), interpolation, redraw

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        k = 1 if self.share == 'batch' else n
        sizes = scaled_sizes(self.draw_tau(k, z.device), height, width)
        low, high = box_edges(draw_centres(k, height, width, z.device), sizes, height, width)
        mask = as_shares(~box_mask(low, high, height, width)).expand(n, -1, -1, -1)
        resized = _RESIZES[self.interpolation](z, partner, low.expand(n, 2), high.expand(n, 2))
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z, resized), mix

    def holding(self, lam: float) -> PairPolicy:
        raise InputError('ResizeMix draws the size of its boxes, and no lam; take a policy that draws lam')

    def draw_tau(self, n: int, device: torch.device) -> Tensor:
        """Draw (n,) float32 ratios of the boxes' sides to the image's."""
        low, high = self.scope
        if self.alpha != 1 and self.redraw == 'beta':
            return draw_lam(n, self.alpha, device, self.scope)
        uniform = low + (high - low) * torch.rand(n, device=device)
        if self.alpha == 1:
            return uniform
        tau = draw_lam(n, self.alpha, device)
        return torch.where((tau < low) | (tau > high), uniform, tau)
