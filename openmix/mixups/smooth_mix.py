"""SmoothMix (Lee et al., CVPR Workshops 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_range
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.boxes import draw_centres
from openmix.registry import MIXUPS

# The distance from the centre whose levels are the shape's outlines, of rows (N, H, 1) and columns (N, 1, W), squared.
_SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'circle': lambda rows, columns: rows.square() + columns.square(),
    'square': lambda rows, columns: torch.maximum(rows.abs(), columns.abs()).square(),
}


def smooth_spot(centres: Tensor, sigma: Tensor, height: int, width: int, shape: str) -> Tensor:
    """Compute masks that are 1 at a centre and fall off around it as a Gaussian.

    Args:
        centres: (N, 2) int64 rows and columns.
        sigma: (N,) standard deviation, in pixels.
        height, width: size of the image.
        shape: 'circle', exp(-(dy^2 + dx^2) / (2 sigma^2)), or 'square', exp(-max(|dy|, |dx|)^2 / (2 sigma^2)).

    Returns:
        (N, 1, height, width) float32 in (0, 1].
    """
    rows = torch.arange(height, device=centres.device) - centres[:, :1]
    columns = torch.arange(width, device=centres.device) - centres[:, 1:]
    squared = _SHAPES[shape](rows[:, :, None].float(), columns[:, None, :].float())
    return torch.exp(-squared / (2 * sigma.square())[:, None, None])[:, None]


@MIXUPS.register_module()
class SmoothMix(PairPolicy):
    """Blend a spot of the partner into the sample, with a share that falls off smoothly from the spot's centre (eq. 1).

    The partner's share in a pixel is a Gaussian of the pixel's distance from a centre that is uniform over the
    pixels. The label share is the mean of the mask. So there is no edge that a network could learn to look for.

    *Differs from the paper*: every sample has its own spot; the published runs draw one per batch (`share='batch'`),
    and mix a batch with a probability, for which `OneOf` stands. Their code has the circle alone; here the square has
    the same fall-off, with the larger of the two distances in place of the Euclidean one.

    Args:
        share, sites, self_pairs: see `PairPolicy`.
        shape: 'circle' or 'square', the outlines of the spot.
        sigma: bounds of the standard deviation, which is uniform, as a fraction of the image's shorter side.

    Raises:
        InputError: unknown shape or bad bounds; in forward, not an (N, C, H, W) tensor.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        share: str = 'sample',
        shape: str = 'circle',
        sigma: tuple[float, float] = (0.25, 0.5),
        sites: Sequence[str] = ('',),
        self_pairs: bool = True,
    ) -> None:
        super().__init__(share=share, sites=sites, self_pairs=self_pairs)
        check_choice('SmoothMix: shape', shape, _SHAPES)
        check_range('SmoothMix: sigma', sigma, 0.0, 10.0, above=True, equal=True)
        low, high = sigma
        self.shape, self.sigma = shape, (low, high)

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        k = 1 if self.share == 'batch' else n
        low, high = self.sigma
        sigma = (low + (high - low) * torch.rand(k, device=z.device)) * min(height, width)
        spot = smooth_spot(draw_centres(k, height, width, z.device), sigma, height, width, self.shape)
        mask = (1 - spot).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix

    def holding(self, lam: float) -> PairPolicy:
        raise InputError('SmoothMix draws the width of its spots, and no lam; take a policy that draws lam')

    def extra_repr(self) -> str:
        return f'shape={self.shape!r}, sigma={self.sigma}, share={self.share!r}, sites={self.sites}'
