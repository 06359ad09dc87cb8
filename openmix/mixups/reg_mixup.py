"""RegMixup (Pinto et al., NeurIPS 2022)."""

from __future__ import annotations

from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class RegMixup(PairPolicy):
    """Mixup as a regulariser: the loss of the clean batch plus that of the batch mixed by Mixup (eq. 3).

    alpha is large, so most mixed images are near the middle of both. In your own loop, add `clean_weight` times the
    loss of the clean images.

    *Differs from the paper*: every sample has its own lam; the published runs draw one per batch (`share='batch'`).
    Clean and mixed images pass the network one batch after the other, so batch norm has statistics of each; the
    released code passes them as one batch, and divides the sum of their losses by two.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`; the paper's alpha is 10 or 20.
        clean_weight: weight of the loss of the clean batch; > 0. The paper weighs both losses by 1.

    Raises:
        InputError: an argument is out of range.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 10.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        clean_weight: float = 1.0,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        check_number('RegMixup: clean_weight', clean_weight, 0.0, above=True)
        self.clean_weight = clean_weight

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        partner = self.draw_pairs(z, pairs)
        mix = Mix.pairs(partner, self.draw_lam(len(partner), z.device))
        return mix.blend(z), mix
