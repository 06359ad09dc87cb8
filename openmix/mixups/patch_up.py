"""PatchUp (Faramarzi et al., AAAI 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS

_GAMMA = {'soft': 0.75, 'hard': 0.5}


def draw_blocks(shape: Sequence[int], gamma: float, block: int, device: torch.device | str | None = None) -> Tensor:
    """Draw masks of square blocks, which may overlap and are cut off at the border.

    Every position is the centre of a block with probability gamma H W / (b^2 (H - b + 1) (W - b + 1)), as in DropBlock,
    so that blocks cover about the share gamma where they do not overlap.

    Args:
        shape: (N, C, H, W) of the result.
        gamma: in [0, 1].
        block: b, the side of a block; of a smaller map it is the largest odd number that fits.
        device: device of the result, whose default generator is used.

    Returns:
        (N, C, H, W) float32, 1 inside the blocks and 0 elsewhere.
    """
    height, width = shape[2:]
    side = min(block, height, width)
    side -= 1 - side % 2
    chance = gamma * height * width / (side**2 * (height - side + 1) * (width - side + 1))
    centres = (torch.rand(*shape, device=device) < chance).float()
    return F.max_pool2d(centres, side, 1, side // 2)


@MIXUPS.register_module()
class PatchUp(PairPolicy):
    """Mix blocks of feature maps: with the partner's ('soft'), or replace them by the partner's ('hard'; eq. 4 to 6).

    The label share of the sample is the share of features that it keeps: 1 outside the blocks; inside lam ('soft') or
    0 ('hard'). In the paper images themselves are mixed by CutMix, and k of the first sites by PatchUp: `OneOf`
    with both, and with `NoMix` for batches that are not mixed.

    *Differs from the paper*: every sample has its own blocks and lam; the published runs draw one of each per batch
    (`share='batch'`). The paper adds a second loss, with the labels' shares in two steps; for cross-entropy it is equal
    to the first, so its runs have twice the loss of these. Blocks that do not fit a map are made smaller.

    Args:
        alpha, share, lam_range, fold, sites, self_pairs: see `PairPolicy`; lam is drawn for 'soft' alone.
        mode: 'soft' or 'hard'.
        gamma: about the share of features in blocks. None: 0.75 for 'soft', 0.5 for 'hard'.
        block: side of the blocks in features, odd.
        channels: 'own' draws blocks for each channel, as in the paper; the mask of the `Mix` is then the mean
            over channels. 'shared' has the same blocks in all.

    Raises:
        InputError: bad option; in forward, not an (N, C, H, W) tensor.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 2.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
        mode: str = 'soft',
        gamma: float | None = None,
        block: int = 7,
        channels: str = 'own',
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, sites, self_pairs)
        check_choice('PatchUp: mode', mode, _GAMMA)
        check_choice('PatchUp: channels', channels, ('own', 'shared'))
        if gamma is not None:
            check_number('PatchUp: gamma', gamma, 0.0, 1.0)
        check_number('PatchUp: block', block, 1, 511)
        if block % 2 == 0:
            raise InputError(f'PatchUp: block must be odd, so that a block has a centre, got {block}')
        self.mode, self.block, self.channels = mode, block, channels
        self.gamma = _GAMMA[mode] if gamma is None else gamma

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        k, channels = 1 if self.share == 'batch' else n, z.shape[1] if self.channels == 'own' else 1
        inside = draw_blocks((k, channels, height, width), self.gamma, self.block, z.device)
        taken = 1 - self.draw_lam(n, z.device)[:k, None, None, None] if self.mode == 'soft' else 1.0
        kept = (1 - taken * inside).expand(n, -1, -1, -1)
        mask = kept.mean(1, keepdim=True)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return torch.lerp(z[partner], z[:n], kept.to(z.dtype)), mix

    def holding(self, lam: float) -> PairPolicy:
        if self.mode == 'hard':
            raise InputError("PatchUp(mode='hard') draws blocks, and no lam; take mode='soft'")
        return super().holding(lam)
