"""MixPro (Zhao et al., ICLR 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.patch_attention import AttendedPolicy
from openmix.registry import MIXUPS

# 56 of 224 pixels, the mask patches of the small networks.
_PARTS = 4


def draw_grid_masks(lam: Tensor, rows: int, columns: int) -> Tensor:
    """Draw masks (N, 1, rows, columns) of which ceil(lam rows columns) random cells are 1 and the others are 0.

    Args:
        lam: (N,) in [0, 1].
    """
    cells = rows * columns
    order = torch.rand(len(lam), cells, device=lam.device).argsort(1).argsort(1)
    # Rounding of lam times cells must not add a cell.
    kept = (lam.double() * cells - 1e-4).ceil()
    return (order < kept[:, None]).float().view(-1, 1, rows, columns)


def progressive(attended: Tensor, area: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Weigh two label shares (N,) by how well the prediction fits the target: a attended + (1 - a) area.

    Args:
        attended: (N,) share by attention.
        area: (N,) share of pixels.
        logits: (N, C) of the mixed images.
        target: (N, C) labels mixed by area. The factor a is its cosine similarity with the softmax of the logits.
    """
    factor = F.cosine_similarity(logits.float().softmax(1), target.float(), dim=1).nan_to_num(0).clamp(0, 1)
    return area.lerp(attended, factor)


@MIXUPS.register_module()
class MixPro(AttendedPolicy, PairPolicy):
    """Mix by a random grid of large patches (MaskMix), and trust the attention as far as the prediction fits (PAL).

    The grid's cells are `mask_patch` pixels wide, a multiple of the network's patches, so that every patch shows one
    image; ceil(lam cells) of them keep the sample. The label share is a lam_attention + (1 - a) lam_area. lam_attention
    is the part of what the class token of the mixed image takes in the last block, averaged over the heads, from
    patches of the sample; lam_area is the share of pixels kept; the progressive factor a is the cosine similarity of
    the prediction for the mixed image and the labels mixed by lam_area. A training step reads attention and prediction
    in its own forward pass and computes no gradient through them. The policy mixes images only, and needs labels.

    *Differs from the paper*: every sample has its own lam. With `share='batch'`, as in the released code, there is one,
    but every sample still has a mask of its own. The labels of the cosine are not smoothed; the code smooths them by
    0.1. A network without a class token is read as its average pooling: by the mean over all patches of what they take.

    Args:
        alpha, lam_range, fold, self_pairs: see `PairPolicy`.
        share: of lam; a mask is drawn for every sample.
        mask_patch: side of a cell in pixels; None: a quarter of the image's shorter side, as the paper's 56 of 224.
        site: name of the attention module, such as 'blocks.11.attn'; None: that of the last attention map.

    Raises:
        InputError: an option is out of range; in forward, a cell is larger than the image, no context, or one without
            labels or a transformer.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        mask_patch: int | None = None,
        site: str | None = None,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        if mask_patch is not None:
            check_number('MixPro: mask_patch', mask_patch, 1, 2**14)
        self.set_site(site)
        self.mask_patch = mask_patch

    def attention_sites(self) -> set[str]:
        return set() if self.found is None else {self.found}

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        context = self.asked(context, z)
        if context.y is None:
            raise InputError('MixPro compares predictions with the labels; pass MixContext(x, y, network=...)')
        partner = self.draw_pairs(z, pairs)
        side = max(1, min(height, width) // _PARTS) if self.mask_patch is None else self.mask_patch
        if side > min(height, width):
            raise InputError(f'MixPro: mask_patch={side} is larger than images of {height} x {width}')
        cells = draw_grid_masks(self.draw_lam(len(partner), z.device), -(-height // side), -(-width // side))
        mask = cells.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :height, :width]
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        mixed = mix.blend(z)
        return mixed, mix if context.settles_later else self.settled(mix, context, context.of_mixed(mixed))

    def settled(self, mix: Mix, context: MixContext, seen: MixContext) -> Mix:
        taken = self.patches(seen)
        assert mix.mask is not None
        assert context.y is not None
        kept = F.adaptive_avg_pool2d(mix.mask, (taken.shape[1], taken.shape[2]))[:, 0]
        attended, logits = (taken * kept).sum((1, 2)), seen.logits()
        lam = progressive(attended, mix.lam, logits, mix.soft_labels(context.y, logits.shape[1]))
        return Mix.pairs(mix.partner, lam.clamp(0, 1), mix.mask)

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "attention" (N, 1, h, w) to the patches of the mixed images."""
        return {'attention': self.patches(context.of_mixed(mix.blend(context.x)))[:, None]}
