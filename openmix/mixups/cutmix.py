"""CutMix (Yun et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.boxes import box_edges, box_mask, cut_sizes, draw_centres
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class CutMix(PairPolicy):
    """Paste a box of the partner into the sample at the same position (algorithm 1).

    The box's sides are sqrt(1 - lam) times the image's, and its centre is uniform over the pixels; the
    part outside the image is cut off. A box can be empty; lam is then exactly 1.

    *Differs from the paper*: every sample has its own lam and box; the published runs draw one lam and one
    box per batch (`share='batch'`).

    Args:
        alpha, share, lam_range, fold, sites, self_pairs: see `PairPolicy`; `lam_range` applies to the drawn lam,
            before it is corrected for clipping.
        correct_lam: use the exact share of pixels kept as lam of the label, as published; False keeps the drawn lam.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
        correct_lam: bool = True,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, sites, self_pairs)
        self.correct_lam = correct_lam

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        boxes = lam[:1] if self.share == 'batch' else lam
        centres = draw_centres(len(boxes), height, width, z.device)
        low, high = box_edges(centres, cut_sizes(boxes, height, width), height, width)
        mask = as_shares(~box_mask(low, high, height, width)).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)) if self.correct_lam else lam, mask)
        return mix.blend(z), mix
