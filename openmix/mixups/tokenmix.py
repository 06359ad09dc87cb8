"""TokenMix (Liu et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.attention import last_attention
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.frozen import Frozen
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.mixups.patch_attention import AttendedPolicy, on_pixels
from openmix.network import Network
from openmix.ops.block_masks import draw_block_masks
from openmix.ops.masks import as_shares
from openmix.registry import MIXUPS, MODELS


@MIXUPS.register_module()
class TokenMix(AttendedPolicy, PairPolicy):
    """Replace several blocks of patches of the sample by the partner's, and share the label by what both images show.

    The partner has the floor of (1 - lam) times the patches, and a least number more, in blocks (`draw_block_masks`).
    The weight of an image in the label is the part of its activation map that is shown, so the two need not sum to 1.
    The map of a clean image is what the class token takes from its patches in the last block, averaged over the heads,
    of a trained, frozen teacher or, without one, of the trained network. A network without a class token is read by the
    mean over all patches of what they take. The policy mixes images only.

    *Differs from the paper*: activations are attention of a transformer, while the paper's are the scores of the
    image's class at every place of a large convolutional teacher. Every sample has its own mask (`share='batch'`: one a
    batch). The released code has `ratio=0.5` throughout.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`.
        ratio: lam of all masks; None: it is drawn.
        least: the least number of the partner's patches, as a fraction of all; the paper's 14 of 196.
        teacher: arguments of `Teacher`, such as dict(name='timm/deit_small_patch16_224'), or any transformer that takes
            these images; None: the trained network.
        site: name of the attention module, such as 'blocks.11.attn', in the teacher if there is one; None: that of the
            last attention map.

    Raises:
        InputError: an option is out of range; in forward, no context, or no transformer.
    """

    published = {'share': 'batch', 'ratio': 0.5}

    @staticmethod
    def small(given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a smoke run: initial weights if the teacher has a download."""
        teacher = given.get('teacher')
        return {'teacher.pretrained': False} if isinstance(teacher, Mapping) and 'name' in teacher else {}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        ratio: float | None = None,
        least: float = 1 / 14,
        teacher: dict | nn.Module | None = None,
        site: str | None = None,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        if ratio is not None:
            check_number('TokenMix: ratio', ratio, 0.0, 1.0)
        check_number('TokenMix: least', least, 0.0, 1.0)
        if not isinstance(teacher, dict | nn.Module | None):
            raise InputError("TokenMix: teacher must be as dict(name='timm/deit_small_patch16_224'), or a module")
        self.set_site(site)
        self.ratio, self.least = ratio, least
        self.teacher: Frozen | None = None
        if teacher is not None:
            built = MODELS.build({'type': 'Teacher', **teacher}) if isinstance(teacher, dict) else teacher
            self.teacher = Frozen(built, own=isinstance(teacher, dict))

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Find the last attention module of the trained network, unless one is named or a teacher is read."""
        if self.teacher is None:
            super().attach(online, encoder)

    def sample_lam(self, n: int, device: torch.device) -> Tensor:
        if self.ratio is not None:
            return torch.full((n,), self.ratio, device=device)
        return super().sample_lam(n, device)

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        context = self.asked(context, z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        shown = self.activations(context)
        rows, columns = shown.shape[1:]
        lam = self.draw_lam(n, z.device)
        masks = lam[:1] if self.share == 'batch' else lam
        patches = rows * columns
        # Rounding of a share times the patches must not drop one.
        counts = (((1 - masks.double()) * patches + 1e-4).floor() + round(self.least * patches)).clamp(0, patches)
        kept = as_shares(~draw_block_masks(counts, rows, columns)).expand(n, rows, columns)
        own, others = (shown[:n] * kept).sum((1, 2)), (shown[partner] * (1 - kept)).sum((1, 2))
        mask = on_pixels(type(self).__name__, kept, height, width)
        source = torch.stack([torch.arange(n, device=z.device), partner], 1)
        mix = Mix(source, torch.stack([own, others], 1).clamp(0, 1), mask)
        return mix.blend(z), mix

    def activations(self, context: MixContext) -> Tensor:
        """Compute the (N, h, w) activation maps of the clean images, which sum to 1."""
        if self.teacher is None:
            return self.patches(context)
        teacher = self.teacher.module
        if self.found is None:
            height, width = context.x.shape[2:]
            self.found = last_attention(teacher, (height, width)) if self.site is None else self.site
        x = context.x.to(next(teacher.parameters(), context.x).dtype)
        return self.patches(MixContext(x, network=Network(teacher, nn.Identity())))

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "activation" and "partner's activation", (N, 1, h, w) each."""
        shown = self.activations(context)
        return {'activation': shown[: len(mix.partner), None], "partner's activation": shown[mix.partner, None]}
