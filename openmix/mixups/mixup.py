"""Mixup (Zhang et al., ICLR 2018); at hidden sites, manifold mixup (Verma et al., ICML 2019)."""

from __future__ import annotations

from torch import Tensor

from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class Mixup(PairPolicy):
    """Linear interpolation of pairs, x = lam x_a + (1 - lam) x_b.

    `sites=('', 'layer1', 'layer2')` is manifold mixup: one site is drawn a batch and the same lam
    weighs features and labels.

    *Differs from the paper*: lam is drawn for every sample; `share='batch'` is the published run's
    one lam a batch.
    """

    published = {'share': 'batch'}

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        partner = self.draw_pairs(z, pairs)
        mix = Mix.pairs(partner, self.draw_lam(len(partner), z.device))
        return mix.blend(z), mix
