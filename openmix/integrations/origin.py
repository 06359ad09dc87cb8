"""Where every pixel of a mixed batch comes from: found by mixing coordinates with the draws that mixed the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext

# In pixels: an interpolation of one number with itself is not exact in floating point.
_EXACT = 0.02


@dataclass(frozen=True)
class Origin:
    """The origin of the pixels of a mixed batch.

    Attributes:
        name: the policy, for messages.
        source: (N, K) int64 rows of the clean batch, see `Mix`.
        shares: (N, K, H, W) float32 in [0, 1], share of each source in every pixel.
        at: (N, 2, H, W) float32, the row and the column of each pixel in its source; between two pixels where the
            policy interpolates.
        moved: (N, H, W) bool, true where that is another place.
    """

    name: str
    source: Tensor
    shares: Tensor
    at: Tensor
    moved: Tensor

    @property
    def cuts(self) -> bool:
        """True if every pixel comes from one image."""
        return bool(((self.shares == 0) | (self.shares == 1)).all())


def mixed_with_origin(policy: MixPolicy, z: Tensor, context: MixContext) -> tuple[Tensor, Mix, Origin]:
    """Mix a batch, and find where its pixels come from.

    The policy is called on the rows and on the columns of the pixels too, each time with the same random draws and the
    same context; the generators are left as after one call.

    Args:
        policy: a policy of images.
        z: (N, C, H, W) floating images.
        context: of these images.

    Raises:
        InputError: the policy mixes by what is in the batch, so that coordinates are mixed in another way; it mixes
            images of earlier batches; or it interpolates images that it has moved.
    """
    height, width = z.shape[2:]
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')).to(z.device).float()
    found = []
    for axis in grid:
        with torch.random.fork_rng(devices=[z.device] if z.device.type == 'cuda' else []):
            found.append(policy(axis.expand(z.shape).contiguous(), context))
    mixed, mix = policy(z, context)
    name = type(policy).__name__
    if mix.earlier is not None:
        raise InputError(f'MixTransform: {name} mixes images of earlier batches, whose masks and boxes are gone')
    if mixed.shape != z.shape or not all(_same(mix, other) for _, other in found):
        raise InputError(
            f'MixTransform: {name} mixes by what it finds in the images that it is given, and masks and boxes cannot '
            'follow it; take another policy'
        )
    at, shares = torch.stack([place[:, 0] for place, _ in found], 1), _pixel_shares(mix, height, width)
    moved = ((at - grid).abs() > _EXACT).any(1)
    faded = ((shares > 0) & (shares < 1)).any(1)
    if bool((moved & faded).any()):
        raise InputError(f'MixTransform: {name} interpolates images that it moves; masks and boxes cannot follow it')
    return mixed, mix, Origin(name, mix.source, shares, at, moved)


def _same(mix: Mix, other: Mix) -> bool:
    if (mix.mask is None) != (other.mask is None):
        return False
    same_mask = mix.mask is None or other.mask is None or torch.equal(mix.mask, other.mask)
    return same_mask and torch.equal(mix.source, other.source) and torch.equal(mix.weight, other.weight)


def _pixel_shares(mix: Mix, height: int, width: int) -> Tensor:
    n, k = mix.source.shape
    if k == 1:
        shares = torch.ones(n, 1, 1, 1, device=mix.weight.device)
    elif mix.mask is None:
        shares = mix.weight[:, :, None, None]
    else:
        shares = torch.cat([mix.mask, 1 - mix.mask], 1) if k == 2 else mix.mask
    return shares.float().expand(n, k, height, width)
