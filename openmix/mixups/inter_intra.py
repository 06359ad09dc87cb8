"""Inter-Intra: one way of mixing inside a class, another between classes (Automatic Mixup, 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.ops.beta import draw_lam
from openmix.ops.boxes import box_edges, box_mask, cut_sizes, draw_centres
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


def draw_mask(kind: str, alpha: float, n: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """(n, 1, H, W) float32 shares of the samples: lam everywhere, or all but a box.

    Args:
        kind: 'interpolate' or 'cut'.
        alpha: lam is drawn from Beta(alpha, alpha).
        n: how many.
        size: H and W.
        device: where to draw.
    """
    lam = draw_lam(n, alpha, device)
    if kind == 'interpolate':
        return lam[:, None, None, None].expand(n, 1, *size)
    low, high = box_edges(draw_centres(n, *size, device), cut_sizes(lam, *size), *size)
    return as_shares(~box_mask(low, high, *size))


@MIXUPS.register_module()
class InterIntra(MixPolicy):
    """Pairs of one class are interpolated, pairs of two classes cut (Automatic Mixup, 3.1 and figure 2 (c)).

    The best of the paper's heat map: interpolation with a large alpha inside a class, boxes with a
    small one between classes. The partner is drawn over the whole batch; each pair is mixed by its
    own kind. The label share is the mask's mean. It asks the context for the labels, which may be
    pseudo labels; of class probabilities, (M, C), it takes the largest.

    The paper gives no values of alpha and no code is public; 2 and 0.2 are of its section 4.1's grid.

    Args:
        intra_alpha, inter_alpha: lam is drawn from Beta(alpha, alpha), of a pair inside a class and
            between classes.
        intra, inter: 'interpolate' or 'cut', see `draw_mask`; the four pairs are the paper's heat map.
        sites: see `MixPolicy`.

    Raises:
        InputError: bad option; in forward, a context without labels or with those of another batch.
    """

    def __init__(
        self,
        intra_alpha: float = 2.0,
        inter_alpha: float = 0.2,
        intra: str = 'interpolate',
        inter: str = 'cut',
        sites: Sequence[str] = ('',),
    ) -> None:
        super().__init__(sites)
        check_number('InterIntra: intra_alpha', intra_alpha, 0.0, above=True)
        check_number('InterIntra: inter_alpha', inter_alpha, 0.0, above=True)
        check_choice('InterIntra: intra', intra, ('interpolate', 'cut'))
        check_choice('InterIntra: inter', inter, ('interpolate', 'cut'))
        self.intra_alpha, self.inter_alpha, self.intra, self.inter = intra_alpha, inter_alpha, intra, inter

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        size = self.grid(z)
        if context is None or context.y is None:
            raise InputError(
                'InterIntra tells pairs apart by their labels; pass MixContext(x, y), or train with labels'
            )
        y = context.y if context.y.dim() == 1 else context.y.argmax(1)
        if len(y) != len(z):
            raise InputError(f'InterIntra: the context holds {len(y)} labels, not the {len(z)} of the mixed batch')
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        intra = draw_mask(self.intra, self.intra_alpha, n, size, z.device)
        inter = draw_mask(self.inter, self.inter_alpha, n, size, z.device)
        mask = torch.where((y[:n] == y[partner])[:, None, None, None], intra, inter)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix

    def extra_repr(self) -> str:
        return f'intra_alpha={self.intra_alpha}, inter_alpha={self.inter_alpha}, sites={self.sites}'
