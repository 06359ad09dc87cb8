"""TransMix (Chen et al., CVPR 2022)."""

from __future__ import annotations

from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.patch_attention import AttendedPolicy, on_grid
from openmix.ops.boxes import box_edges, box_mask, cut_sizes, draw_centres
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class TransMix(AttendedPolicy, PairPolicy):
    """Mix as CutMix, and weigh the labels by what the class token takes from the patches of each image.

    The attention is that of the mixed image in the last block, averaged over the heads and without that of the class
    token to itself: lam = A . M, with the mask M at the first pixel of every patch. A training step reads it in its own
    forward pass and computes no gradient through it. Where `area_weight` is not 0, lam is an average with the share of
    pixels kept. A network without a class token is read as its average pooling: by the mean over all patches of what
    they take. The policy mixes images only.

    *Differs from the paper*: every sample has its own lam and box (`share='batch'`: one a batch). The released code
    averages lam with the share of pixels kept, `area_weight=0.5`, which the paper does not mention. The attention is
    read without dropout. For Swin, the paper adds a class token with a block of its own; here its last stage is read,
    whose window is the whole image.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`; lam of the box is drawn as in CutMix.
        site: name of the attention module, such as 'blocks.11.attn'; None: that of the last attention map.
        area_weight: weight of the share of pixels kept in lam, in [0, 1]; the attention has the rest.

    Raises:
        InputError: an option is out of range; in forward, no context, or one without a transformer.
    """

    published = {'share': 'batch', 'area_weight': 0.5}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        site: str | None = None,
        area_weight: float = 0.0,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        check_number('TransMix: area_weight', area_weight, 0.0, 1.0)
        self.set_site(site)
        self.area_weight = area_weight

    def attention_sites(self) -> set[str]:
        return set() if self.found is None else {self.found}

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        context = self.asked(context, z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        boxes = lam[:1] if self.share == 'batch' else lam
        centres = draw_centres(len(boxes), height, width, z.device)
        low, high = box_edges(centres, cut_sizes(boxes, height, width), height, width)
        mask = as_shares(~box_mask(low, high, height, width)).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        mixed = mix.blend(z)
        return mixed, mix if context.settles_later else self.settled(mix, context, context.of_mixed(mixed))

    def settled(self, mix: Mix, context: MixContext, seen: MixContext) -> Mix:
        taken = self.patches(seen)
        assert mix.mask is not None
        attended = (taken * on_grid(mix.mask, (taken.shape[1], taken.shape[2]))).sum((1, 2))
        lam = attended.lerp(mix.lam, self.area_weight).clamp(0, 1)
        return Mix.pairs(mix.partner, lam, mix.mask)

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "attention" (N, 1, h, w) to the patches of the mixed images."""
        return {'attention': self.patches(context.of_mixed(mix.blend(context.x)))[:, None]}
