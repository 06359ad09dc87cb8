"""Mixup (Zhang et al., ICLR 2018), and manifold mixup at hidden layers (Verma et al., ICML 2019)."""

from __future__ import annotations

import copy

from torch import Tensor

from openmix.errors import InputError
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

    def within(self, low: float, high: float) -> Mixup:
        kept = max(low, self.lam_range[0]), min(high, self.lam_range[1])
        if kept[0] >= kept[1] or (self.fold and kept[1] <= 0.5):
            own = f'lam_range={self.lam_range}' + (', fold=True' if self.fold else '')
            raise InputError(f'Mixup with {own} draws no lam in [{low:g}, {high:g}]; leave one of them out')
        bounded = copy.copy(self)
        bounded.lam_range = kept
        return bounded

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        partner = self.draw_pairs(z, pairs)
        mix = Mix.pairs(partner, self.draw_lam(len(partner), z.device))
        return mix.blend(z), mix
