"""Pillow's changes of colour and contrast for a whole batch, equal to it to the grey level; no GPU sync."""

from __future__ import annotations

import torch
from torch import Tensor

# Weights of red, green and blue in a grey level, in 1 / 65536, as in Pillow's conversion to 'L'.
_GREY = (19595, 38470, 7471)
_LEVELS = 256


def grey(x: Tensor) -> Tensor:
    """Compute the (N, 1, H, W) int32 grey levels of uint8 (N, 3, H, W), rounded as by Pillow's `convert('L')`."""
    red, green, blue = x.int().unbind(1)
    return (((_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue) + 0x8000) >> 16)[:, None]


def blend(base: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """Compute base + factor (x - base), truncated to whole levels, as `Image.blend`.

    Args:
        base: whole levels, broadcastable to `x`.
        x: uint8 (N, 3, H, W).
        factor: (N,) floating point in [0, 1].

    Returns:
        uint8 (N, 3, H, W).
    """
    base = base.float()
    return (base + factor.float().view(-1, 1, 1, 1) * (x - base)).to(torch.uint8)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend uint8 (N, 3, H, W) with black, as `ImageEnhance.Brightness`; factors (N,) in [0, 1]."""
    return (factor.float().view(-1, 1, 1, 1) * x).to(torch.uint8)


def color(x: Tensor, factor: Tensor) -> Tensor:
    """Blend uint8 (N, 3, H, W) with its grey levels, as `ImageEnhance.Color`; factors (N,) in [0, 1]."""
    return blend(grey(x), x, factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend uint8 (N, 3, H, W) with its mean grey level, as `ImageEnhance.Contrast`; factors (N,) in [0, 1]."""
    pixels = x.shape[2] * x.shape[3]
    total = grey(x).sum((1, 2, 3), dtype=torch.int64).view(-1, 1, 1, 1)
    return blend((2 * total + pixels) // (2 * pixels), x, factor)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend uint8 (N, 3, H, W) with a smoothed copy, as `ImageEnhance.Sharpness`; factors (N,) in [0, 1].

    The smoothed copy is `ImageFilter.SMOOTH`: 5/13 of the pixel and 1/13 of each neighbour; pixels at the border stay.
    """
    if min(x.shape[2:]) < 3:
        return x
    wide = x.short()
    across = wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]
    total = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :] + 4 * wide[..., 1:-1, 1:-1]
    smooth = x.clone()
    # 13 is odd, so that no sum lies half-way between two levels.
    smooth[..., 1:-1, 1:-1] = (total.float() / 13 + 0.5).to(torch.uint8)
    return blend(smooth, x, factor)


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits of each channel of uint8 (N, C, H, W), as `ImageOps.posterize`; `bits` (N,) in 1..8."""
    mask = _LEVELS - 2 ** (8 - bits.long())
    return x & mask.to(torch.uint8).view(-1, 1, 1, 1)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert the levels of uint8 (N, C, H, W) that reach a threshold, as `ImageOps.solarize`; (N,) in [0, 256]."""
    return torch.where(x < threshold.ceil().short().view(-1, 1, 1, 1), x, 255 - x)


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel of uint8 (N, C, H, W) to all levels, as `ImageOps.autocontrast`."""
    low, high = x.amin((2, 3), keepdim=True).double(), x.amax((2, 3), keepdim=True).double()
    flat = high <= low
    # In float64, because Pillow truncates products that would be whole numbers without rounding errors. A number
    # divided by a tensor is the tensor's reciprocal times the number in torch, which rounds differently.
    scale = torch.where(flat, 1.0, torch.full_like(low, 255) / (high - low).clamp_min(1))
    offset = torch.where(flat, 0.0, -low * scale)
    return (x.double() * scale + offset).to(torch.uint8)


def equalize(x: Tensor) -> Tensor:
    """Make the levels of each channel of uint8 (N, C, H, W) about equally frequent, as `ImageOps.equalize`."""
    flat = x.flatten(2).long()
    counts = flat.new_zeros(*flat.shape[:2], _LEVELS).scatter_add_(2, flat, torch.ones_like(flat))
    highest = counts.gather(2, flat.amax(2, keepdim=True))
    step = (flat.shape[2] - highest) // 255
    below = counts.cumsum(2) - counts
    table = ((step // 2 + below) // step.clamp_min(1)).clamp_max_(255)
    table = torch.where(step > 0, table, torch.arange(_LEVELS, device=x.device))
    return table.to(torch.uint8).gather(2, flat).view_as(x)
