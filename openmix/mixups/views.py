"""Views: put all views of every sample into one batch, without mixing."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class Views(MixPolicy):
    """Flatten several views of each sample into one batch, unmixed (K = 1, weight 1), for consistency losses.

    (M, V, C, H, W) becomes (N V, C, H, W): the V views of a sample are consecutive, each with
    the sample as its source. A batch with one view, (M, C, H, W), is returned as it is.
    """

    mixes = False

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        n = len(z) if pairs is None else len(pairs)
        views = z[:n] if z.dim() == 5 else z[:n, None]
        source = torch.arange(n, device=z.device).repeat_interleave(views.shape[1])[:, None]
        return views.flatten(0, 1), Mix(source, torch.ones_like(source, dtype=torch.float32))
