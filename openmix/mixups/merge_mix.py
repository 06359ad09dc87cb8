"""MergeMix (Jin et al., 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.errors import check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.merged_attention import merged_attention, plain_blocks
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.mixups.patch_attention import AttendedPolicy, on_pixels, owner_of, patches_taken
from openmix.network import Network
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class MergeMix(AttendedPolicy, PairPolicy):
    """Keep the patches of the sample that get most attention among merged tokens, and paste them onto the partner.

    The clean images pass through the trained network, in evaluation mode and without a gradient, and its most similar
    tokens are merged from block to block. What the class token takes from a merged token is given to all its patches,
    A = R(A_K, S) with the map S of who was merged, so regions stay together. The sample keeps the p = floor(lam L) of L
    patches where A is largest; the partner shows elsewhere, x = M x_i + (1 - M) x_j. The label share is the share of
    pixels kept. A network without a class token is read by the mean over all patches of what they take. The policy
    mixes images only, with a ViT or DeiT of timm.

    *Differs from the paper*: it draws the label share anew, `rescale=True`, and adds the loss of the clean images
    (eq. 9), `clean_weight=1`. Every sample has its own lam (`share='batch'`: one a batch). Its passes that are
    classified merge tokens too, here only the pass for the attention does. Its training of multi-modal language models
    by preferences is left out.

    *Differs from the released code*, which reads what the patches take from the class token, restores the attention of
    an inner block by the merges of all blocks, merges more tokens in the first block than in the others where numbers
    do not divide, and adds the loss of a batch that is mixed by Mixup. Its criterion is a scalar, so a label share that
    is drawn anew has an effect by its mean over the batch alone.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`.
        merged: share of the patches that are merged in all blocks of the network, in [0, 1).
        site: name of the attention module, such as 'blocks.8.attn'; None: that of the last block.
        rescale: draw the label share: one for every sample from a Gaussian with mean `merged` and the share of pixels
            kept as standard deviation, then mapped linearly to [0, 1] by the least and the largest of the batch.
        clean_weight: weight of the loss of the clean images, which is added; >= 0. In your own loop add it.

    Raises:
        InputError: an option is out of range; in attach and forward, the network is no such transformer.
    """

    published = {'share': 'batch', 'rescale': True, 'self_pairs': False}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        merged: float = 0.5,
        site: str | None = None,
        rescale: bool = False,
        clean_weight: float = 0.0,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        check_number('MergeMix: merged', merged, 0.0, 1.0, below=True)
        check_number('MergeMix: clean_weight', clean_weight, 0.0)
        self.set_site(site)
        self.merged, self.rescale, self.clean_weight = merged, rescale, clean_weight

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Find the last attention module of the trained network, unless one is named.

        Raises:
            InputError: the network has no attention, or its tokens cannot be merged.
        """
        super().attach(online, encoder)
        assert self.found is not None
        plain_blocks(online.backbone, self.found)

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        context = self.asked(context, z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        taken = self.merged_patches(context, n)
        lam = self.draw_lam(n, z.device)
        patches = taken[0].numel()
        # Rounding of a share times the patches must not drop one.
        counts = (lam.double() * patches + 1e-4).floor()
        order = taken.flatten(1).argsort(dim=1, descending=True, stable=True)
        places = torch.arange(patches, device=z.device).expand(n, -1)
        rank = torch.zeros_like(order).scatter(1, order, places)
        kept = as_shares(rank < counts[:, None]).view_as(taken)
        mask = on_pixels(type(self).__name__, kept, height, width)
        mix = Mix.pairs(partner, self.label_share(mask.mean((1, 2, 3))), mask)
        return mix.blend(z), mix

    def label_share(self, kept: Tensor) -> Tensor:
        """Return (N,) the label shares of samples that keep the share `kept` (N,) of their pixels; see `rescale`."""
        if not self.rescale:
            return kept
        drawn = self.merged + kept * torch.randn_like(kept)
        least, largest = drawn.aminmax()
        return ((drawn - least) / (largest - least + 1e-5)).clamp(0, 1)

    def merged_patches(self, context: MixContext, n: int) -> Tensor:
        """Compute (n, h, w), what is taken from every patch of the context's first n images by merged tokens."""
        network, site = self.attending(context)
        x, backbone = context.x[:n], network.backbone
        attention = merged_attention(backbone, site, x, self.merged)
        return patches_taken(attention, owner_of(backbone, site), x.shape[2], x.shape[3])

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "attention" (N, 1, h, w) to the patches of the clean images."""
        return {'attention': self.merged_patches(context, len(mix.partner))[:, None]}
