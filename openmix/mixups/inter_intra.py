"""Inter-Intra: mix pairs of one class and pairs of two classes in different ways (Automatic Mixup, 3.1)."""

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
    """Draw an (n, 1, H, W) float32 mask: lam in every pixel, or 1 outside a box and 0 inside.

    Args:
        kind: 'interpolate' or 'cut'.
        alpha: lam is drawn from Beta(alpha, alpha).
        n: number of masks.
        size: H and W.
        device: device of the result.
    """
    lam = draw_lam(n, alpha, device)
    if kind == 'interpolate':
        return lam[:, None, None, None].expand(n, 1, *size)
    low, high = box_edges(draw_centres(n, *size, device), cut_sizes(lam, *size), *size)
    return as_shares(~box_mask(low, high, *size))


@MIXUPS.register_module()
class InterIntra(MixPolicy):
    """Interpolate pairs of one class; paste a box in pairs of two classes (Automatic Mixup, 3.1 and figure 2 (c)).

    This is the best combination in the paper's heat map: interpolation with a large alpha for pairs of one
    class, boxes with a small alpha for pairs of two classes. The partners are a random permutation of the whole
    batch. The label share is the mask's mean. The policy needs labels from the context, which may be
    pseudo labels; class probabilities, (M, C), are replaced by their argmax.

    The paper gives no values of alpha and no code is public; 2 and 0.2 are from the grid in its section 4.1.

    Args:
        intra_alpha, inter_alpha: lam is drawn from Beta(alpha, alpha), for pairs of one class and of two classes.
        intra, inter: 'interpolate' or 'cut', see `draw_mask`; the four combinations are the paper's heat map.
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
        size = self.height_and_width(z)
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
