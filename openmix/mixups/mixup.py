"""Mixup (Zhang et al., ICLR 2018), and manifold mixup at hidden layers (Verma et al., ICML 2019)."""

from __future__ import annotations

from torch import Tensor

from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class Mixup(PairPolicy):
    """Interpolate pairs linearly, x = lam x_a + (1 - lam) x_b.

    `sites=('', 'layer1', 'layer2')` is manifold mixup: one site is drawn per batch, and the same lam
    mixes features and labels.

    *Differs from the paper*: every sample has its own lam; the published runs draw one per batch
    (`share='batch'`).
    """

    published = {'share': 'batch'}

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        partner = self.draw_pairs(z, pairs)
        mix = Mix.pairs(partner, self.draw_lam(len(partner), z.device))
        return mix.blend(z), mix
