"""Rotations, shears and translations of a whole batch by nearest neighbour, equal to Pillow's; no GPU sync."""

from __future__ import annotations

import torch
from torch import Tensor

# Pillow computes source positions in whole multiples of 1 / 65536 of a pixel.
_BITS = 16
_ONE = 1 << _BITS


def rotation(degrees: Tensor, height: int, width: int) -> Tensor:
    """Compute the (N, 6) matrices of counter-clockwise rotations about the centre by `degrees` (N,): `Image.rotate`."""
    angle = torch.deg2rad(-degrees.double())
    cos, sin = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    return torch.stack([cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y], 1)


def shear_x(amount: Tensor) -> Tensor:
    """Compute the (N, 6) matrices of horizontal shears about the upper left corner; `amount` (N,) pixels a row."""
    return _matrix(amount, b=amount)


def shear_y(amount: Tensor) -> Tensor:
    """Compute the (N, 6) matrices of vertical shears about the upper left corner; `amount` (N,) pixels a column."""
    return _matrix(amount, d=amount)


def translate_x(pixels: Tensor) -> Tensor:
    """Compute the (N, 6) matrices of horizontal translations, by whole pixels; `pixels` (N,), > 0 is to the left."""
    return _matrix(pixels, c=(pixels.double() + 0.5).floor())


def translate_y(pixels: Tensor) -> Tensor:
    """Compute the (N, 6) matrices of vertical translations, by whole pixels; `pixels` (N,), > 0 is upwards."""
    return _matrix(pixels, f=(pixels.double() + 0.5).floor())


def _matrix(like: Tensor, **given: Tensor) -> Tensor:
    one, zero = torch.ones_like(like, dtype=torch.float64), torch.zeros_like(like, dtype=torch.float64)
    entries = {'a': one, 'b': zero, 'c': zero, 'd': zero, 'e': one, 'f': zero}
    return torch.stack([entry.double() for entry in (entries | given).values()], 1)


def affine_nearest(x: Tensor, matrix: Tensor) -> Tensor:
    """Transform each image by its own matrix, as `Image.transform` with nearest neighbour and black outside.

    Args:
        x: (N, C, H, W), any dtype; sides up to 8192.
        matrix: (N, 6) float64 (a, b, c, d, e, f): output pixel (column u, row v) shows the source at
            (a u + b v + c, d u + e v + f), where coordinates are those of pixel centres.

    Returns:
        (N, C, H, W) in the dtype of `x`.
    """
    n, channels, height, width = x.shape
    a, b, c, d, e, f = matrix.unbind(1)
    # The source of the first pixel's centre and the steps to the next pixel and the next row; + 1 for the border.
    start = torch.stack([c + 0.5 * a + 0.5 * b + 1, f + 0.5 * d + 0.5 * e + 1, a, d, b, e])
    first_u, first_v, step_u, step_v, row_u, row_v = (start * _ONE + 0.5).floor().int()[..., None, None]
    across = torch.arange(width, dtype=torch.int32, device=x.device)
    down = torch.arange(height, dtype=torch.int32, device=x.device)[:, None]
    # Pixels outside are gathered from a border of black pixels.
    u = ((first_u + row_u * down) + step_u * across).bitwise_right_shift_(_BITS).clamp_(0, width + 1)
    v = ((first_v + row_v * down) + step_v * across).bitwise_right_shift_(_BITS).clamp_(0, height + 1)
    at = v.mul_(width + 2).add_(u).long()
    pixels = torch.nn.functional.pad(x, (1, 1, 1, 1)).flatten(2)
    return pixels.gather(2, at.view(n, 1, height * width).expand(-1, channels, -1)).view_as(x)
