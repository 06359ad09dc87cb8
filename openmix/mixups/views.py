"""Views: several views of each sample, side by side in the batch, un-mixed."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class Views(MixPolicy):
    """All views of all samples as one batch (K = 1, weight 1), for losses that compare them.

    (M, V, C, H, W) become (N V, C, H, W): the V views of a sample one after the other, each with
    the sample as its source. A batch of one view, (M, C, H, W), is left alone.
    """

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        n = len(z) if pairs is None else len(pairs)
        views = z[:n] if z.dim() == 5 else z[:n, None]
        source = torch.arange(n, device=z.device).repeat_interleave(views.shape[1])[:, None]
        return views.flatten(0, 1), Mix(source, torch.ones_like(source, dtype=torch.float32))
