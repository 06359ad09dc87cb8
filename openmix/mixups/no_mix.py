"""NoMix: return the batch unmixed, so that vanilla training is a policy and not a special case."""

from __future__ import annotations

from torch import Tensor

from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class NoMix(MixPolicy):
    """Return every sample unmixed (K = 1, weight 1): vanilla training."""

    mixes = False

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        n = len(z) if pairs is None else len(pairs)
        return z[:n], Mix.none(n, z.device)
