"""SnapMix (Huang et al., AAAI 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, brief
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import Network
from openmix.ops.boxes import box_edges, box_mask, cut_sizes, draw_centres, resize_bilinear
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS


def semantic_shares(activation: Tensor, height: int, width: int) -> Tensor:
    """Compute the (N, H, W) float32 semantic percent maps of class activation maps (N, h, w); each sums to 1 (eq. 3).

    The map is resized to the image and its least value subtracted. One that is equal everywhere, or not finite, has
    equal shares.
    """
    seen = activation.float().nan_to_num(0, 0, 0)[:, None]
    seen = F.interpolate(seen, (height, width), mode='bilinear', align_corners=False)[:, 0]
    seen = seen - seen.amin((1, 2), keepdim=True) + torch.finfo(seen.dtype).tiny
    return seen / seen.sum((1, 2), keepdim=True)


@MIXUPS.register_module()
class SnapMix(PairPolicy):
    """Paste a box of the partner into another box of the sample; weigh the labels by the class activation of both.

    The two boxes are drawn independently, as CutMix's, and the partner's is resized to the sample's (eq. 1). The label
    weight of the sample is the share of its class activation outside its box; that of the partner is the share of its
    own class activation inside its box (eq. 4 and 5). So the weights lie in [0, 1], and *need not sum to 1*. Where one
    of the boxes is empty, nothing is pasted and the weights are 1 and 0. The policy mixes images only, and needs the
    network and the labels from the context; its pass costs one forward pass.

    *Differs from the paper*: every sample has its own boxes; the published runs draw two per batch (`share='batch'`).
    Maps are of the network in evaluation mode, while the released code runs it in training mode, and are made
    non-negative by subtracting their least value, as there. A pair of one class has the sum of both weights; the
    released code counts it twice. Boxes are resized between pixel centres; there, between corners.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`; each box has a lam of its own.
        site: module of the backbone that puts out the last feature maps before pooling.

    Raises:
        InputError: an argument is out of range; in attach, the backbone has no such site; in forward, no network was
            attached, or the context has none, or no labels.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 5.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        site: str = 'layer4',
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        if not isinstance(site, str):
            raise InputError(f'SnapMix: site must be the name of a module of the backbone, got {brief(site)}')
        self.site_name = site
        self.activation_site: FeatureSite | None = None

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        self.activation_site = FeatureSite(online.backbone, self.site_name)

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        size = self.height_and_width(z)
        shares = self.shares(self.asked(context, z))
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        low, high = self.draw_boxes(n, size, z.device)
        other_low, other_high = self.draw_boxes(n, size, z.device)
        pasted = ((high > low) & (other_high > other_low)).all(1)[:, None, None, None]
        own = as_shares(box_mask(low, high, *size) & pasted).expand(n, -1, -1, -1)
        other = as_shares(box_mask(other_low, other_high, *size) & pasted)
        kept = 1 - (own[:, 0] * shares[:n]).sum((1, 2))
        shown = (other[:, 0] * shares[partner]).sum((1, 2))
        resized = resize_bilinear(z, partner, low.expand(n, -1), high.expand(n, -1), (other_low, other_high))
        rows = torch.arange(n, device=z.device)
        weight = torch.stack([kept, shown], 1).clamp(0, 1)
        mix = Mix(torch.stack([rows, partner], 1), weight, 1 - own)
        return mix.blend(z, resized), mix

    def draw_boxes(self, n: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw boxes as CutMix: first and one-past-last row and column, (n, 2), or (1, 2) if `share` is 'batch'."""
        lam = self.draw_lam(n, device)
        lam = lam[:1] if self.share == 'batch' else lam
        return box_edges(draw_centres(len(lam), *size, device), cut_sizes(lam, *size), *size)

    def shares(self, context: MixContext) -> Tensor:
        """Compute the (N, H, W) semantic percent maps of the context's images, see `semantic_shares`.

        Raises:
            InputError: no network was attached, or the context has none, or no labels.
        """
        if self.activation_site is None:
            raise InputError('SnapMix needs a network; give it as policy to a classifier, or call attach(Network(...))')
        return semantic_shares(context.class_activation(self.activation_site), *context.x.shape[2:])

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "partner's class activation" (N, 1, H, W), whose share in the box is the partner's weight."""
        return {"partner's class activation": self.shares(context)[mix.partner, None]}
