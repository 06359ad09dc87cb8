"""GridMix (Baek et al., Pattern Recognition 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.fourier import top_share
from openmix.ops.grids import spread_cells
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class GridMix(PairPolicy):
    """Divide the image into a grid; random cells show the partner, the others the sample.

    The sample keeps lam * grid ** 2 cells, all sets of so many equally likely; the number is rounded up or down at
    random. The label share is the exact share of pixels kept.

    *Differs from the paper*: the paper trains a second head on the class of every cell as well; here the mixed label of
    the whole image alone is trained on. Every sample has its own lam and cells. The grid's size is that of the feature
    map there; here it is an option.

    Args:
        alpha, share, lam_range, fold, sites, self_pairs: see `PairPolicy`.
        grid: cells along each side, at least 2. Cells of images that it does not divide differ by a pixel.

    Raises:
        InputError: bad option; in forward, not an (N, C, H, W) tensor.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
        grid: int = 4,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, sites, self_pairs)
        check_number('GridMix: grid', grid, 2, 64)
        self.grid = grid

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        shares = lam[:1] if self.share == 'batch' else lam
        order = torch.rand(len(shares), self.grid, self.grid, device=z.device)
        kept = spread_cells(top_share(order, shares), height, width)
        mask = as_shares(kept).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix
