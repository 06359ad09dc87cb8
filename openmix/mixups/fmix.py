"""FMix (Harris et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from openmix.errors import check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.fourier import low_pass_field, top_share, two_harmonics_field
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS

_FIELDS = {'isotropic': low_pass_field, 'two_harmonics': two_harmonics_field}


@MIXUPS.register_module()
class FMix(PairPolicy):
    """Combine the sample and its partner by a binary mask, the thresholded random low-frequency field.

    The sample keeps the lam * H * W pixels where the field is largest; this number is rounded up or down at
    random (section 4).

    *Differs from the paper*: every sample has its own lam and mask; the published runs draw one of each per
    batch (`share='batch'`). The label share is the exact mean of the mask, at most 1 / (H W) from the drawn
    lam. `spectrum='two_harmonics'` is the official code's anisotropic spectrum.

    Args:
        alpha, share, lam_range, fold, sites, self_pairs: see `PairPolicy`.
        decay: exponent d of the amplitude's fall with frequency, `|f| ** -d`.
        spectrum: 'isotropic' or 'two_harmonics'.

    Raises:
        InputError: unknown spectrum; in forward, not an (N, C, H, W) tensor.
    """

    published = {'share': 'batch', 'spectrum': 'two_harmonics'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
        decay: float = 3.0,
        spectrum: str = 'isotropic',
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, sites, self_pairs)
        check_choice('FMix: spectrum', spectrum, _FIELDS)
        check_number('FMix: decay', decay, 0.0, 100.0)
        self.decay, self.spectrum = decay, spectrum

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        masks = lam[:1] if self.share == 'batch' else lam
        field = _FIELDS[self.spectrum](len(masks), height, width, self.decay, z.device)
        mask = as_shares(top_share(field, masks)).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix
