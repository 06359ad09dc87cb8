"""Occlusion of images: random patches of a grid become black.

Naseer et al., "Intriguing Properties of Vision Transformers" (NeurIPS 2021), section 3.1, random PatchDrop.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_PATCHES_A_SIDE = 14  # as the paper's, of 16 pixels at 224


def patch_side(height: int, width: int) -> int:
    """Return the side of a patch in pixels: 16 at 224 pixels, the power of two that is nearest below it elsewhere."""
    return 1 << max(0, (min(height, width) // _PATCHES_A_SIDE).bit_length() - 1)


def drop_orders(count: int, seeds: Sequence[int]) -> Tensor:
    """Draw in which order the patches of each image are dropped.

    Args:
        count: number of patches of an image, P.
        seeds: one an image, such as its id, so that a draw does not depend on the batch.

    Returns:
        (N, P) int64, the place of each patch in the order.
    """
    drawn = [torch.randperm(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn)


def occlude(x: Tensor, side: int, order: Tensor, share: float) -> Tensor:
    """Make the patches of the grid that come first black.

    Args:
        x: (N, 3, H, W) pixels in [0, 1].
        side: side of a patch in pixels; those at the right and lower edge are smaller where it does not divide.
        order: (N, P) see `drop_orders`; P = ceil(H / side) ceil(W / side), row by row.
        share: part of the patches that are dropped, rounded to a whole number of them.

    Returns:
        (N, 3, H, W) pixels in [0, 1].
    """
    height, width = x.shape[-2:]
    rows, columns = -(-height // side), -(-width // side)
    kept = (order >= round(share * rows * columns)).reshape(-1, 1, rows, columns)
    pixels = kept.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width]
    return x * pixels.to(x)
