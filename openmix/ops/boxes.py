"""Axis-aligned boxes for a batch: sizes, centres, clipped edges, masks, images resized into them; no GPU sync."""

from __future__ import annotations

import torch
from torch import Tensor


def cut_sizes(lam: Tensor, height: int, width: int) -> Tensor:
    """Compute (N, 2) int64 heights and widths of boxes that cover 1 - lam of the image (CutMix, eq. 1).

    Args:
        lam: (N,) float in [0, 1].
        height, width: size of the image; each side of a box is sqrt(1 - lam) times the image's, truncated.
    """
    return scaled_sizes((1 - lam).clamp_min(0).sqrt(), height, width)


def scaled_sizes(ratio: Tensor, height: int, width: int) -> Tensor:
    """Compute (N, 2) int64 heights and widths of boxes whose sides are `ratio` (N,) times the image's, truncated."""
    return torch.stack([ratio * height, ratio * width], 1).long()


def draw_centres(n: int, height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """Draw (n, 2) int64 rows and columns, uniform over the pixels, from the default generator of `device`."""
    rows = torch.randint(height, (n,), device=device)
    return torch.stack([rows, torch.randint(width, (n,), device=device)], 1)


def box_edges(centres: Tensor, sizes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Compute the first and one-past-last row and column of each box after clipping to the image.

    A box extends size // 2 to both sides of its centre, so an odd size covers one pixel less, and
    size 1 covers none, as in CutMix's algorithm.

    Args:
        centres: (N, 2) int64 rows and columns.
        sizes: (N, 2) int64 heights and widths, >= 0.

    Returns:
        Two (N, 2) int64 tensors, rows in [0, height] and columns in [0, width].
    """
    half = sizes // 2
    low, high = centres - half, centres + half
    return _clip(low, height, width), _clip(high, height, width)


def box_mask(low: Tensor, high: Tensor, height: int, width: int) -> Tensor:
    """Make an (N, 1, height, width) bool mask that is true inside the boxes.

    Args:
        low, high: (N, 2) int64 first and one-past-last row and column, from `box_edges`.
    """
    rows = _inside(low[:, 0], high[:, 0], height)
    columns = _inside(low[:, 1], high[:, 1], width)
    # As bytes: on the CPU torch does not vectorise a broadcast & of bools.
    return (rows.view(torch.uint8)[:, :, None] & columns.view(torch.uint8)[:, None, :]).view(torch.bool)[:, None]


def resize_nearest(z: Tensor, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Resize z[rows] into boxes by nearest-neighbour sampling; return (N, C, H, W).

    The content outside a box is arbitrary, but finite if `z` is finite.

    Args:
        z: (M, C, H, W).
        rows: (N,) int64 row indices into `z`.
        low, high: (N, 2) int64 first and one-past-last row and column of each box.
    """
    height, width = z.shape[2:]
    y = _source(low[:, 0], high[:, 0], height).floor().long().clamp(0, height - 1)
    x = _source(low[:, 1], high[:, 1], width).floor().long().clamp(0, width - 1)
    return _pick(z, rows, y, x)


def resize_bilinear(
    z: Tensor, rows: Tensor, low: Tensor, high: Tensor, crop: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Resize z[rows] into boxes by bilinear interpolation, in `z`'s dtype; return (N, C, H, W).

    The content outside a box is arbitrary, but finite if `z` is finite.

    Args:
        z, rows, low, high: see `resize_nearest`.
        crop: (N, 2) int64 first and one-past-last row and column of the part of each image that is resized, of one
            pixel at least; None: the whole image.
    """
    height, width = z.shape[2:]
    if crop is None:
        y, y_share = _neighbours(low[:, 0], high[:, 0], height)
        x, x_share = _neighbours(low[:, 1], high[:, 1], width)
        y_next, x_next = (y + 1).clamp_max(height - 1), (x + 1).clamp_max(width - 1)
    else:
        y, y_next, y_share = _neighbours_within(low[:, 0], high[:, 0], crop[0][:, 0], crop[1][:, 0], height)
        x, x_next, x_share = _neighbours_within(low[:, 1], high[:, 1], crop[0][:, 1], crop[1][:, 1], width)
    y_share, x_share = y_share[:, None, :, None].to(z.dtype), x_share[:, None, None, :].to(z.dtype)
    above = torch.lerp(_pick(z, rows, y, x), _pick(z, rows, y, x_next), x_share)
    below = torch.lerp(_pick(z, rows, y_next, x), _pick(z, rows, y_next, x_next), x_share)
    return torch.lerp(above, below, y_share)


def shifted(z: Tensor, rows: Tensor, by: Tensor) -> Tensor:
    """Return (N, C, H, W) z[rows] in which pixel (i, j) is that at (i, j) + by, or the nearest one in the image.

    Args:
        z: (M, C, H, W).
        rows: (N,) int64 row indices into `z`.
        by: (N, 2) int64 rows and columns.
    """
    height, width = z.shape[2:]
    y = torch.arange(height, device=z.device) + by[:, :1]
    x = torch.arange(width, device=z.device) + by[:, 1:]
    return _pick(z, rows, y.clamp(0, height - 1), x.clamp(0, width - 1))


def _pick(z: Tensor, rows: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Gather (N, C, H, W) with [n, c, i, j] = z[rows[n], c, y[n, i], x[n, j]]."""
    height, width = z.shape[2:]
    at = (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None].expand(-1, z.shape[1], -1)
    return z.index_select(0, rows).flatten(2).gather(2, at).unflatten(2, (height, width))


def _clip(points: Tensor, height: int, width: int) -> Tensor:
    rows, columns = points.unbind(1)
    return torch.stack([rows.clamp(0, height), columns.clamp(0, width)], 1)


def _inside(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Make an (N, length) bool mask that is true from `low` to `high` - 1."""
    at = torch.arange(length, device=low.device)
    return (at >= low[:, None]) & (at < high[:, None])


def _scale(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Compute the (N, 1) float32 number of input pixels per output pixel; an empty box counts as one pixel."""
    size = (high - low).clamp_min(1)[:, None]
    # Dividing a Python number by a tensor multiplies by the rounded reciprocal, which can select a different pixel.
    return torch.full_like(size, length) / size


def _source(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Compute the (N, length) float32 input coordinate of the near edge of every output pixel."""
    at = torch.arange(length, device=low.device)
    return (at - low[:, None]) * _scale(low, high, length)


def _neighbours(low: Tensor, high: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Compute the (N, length) index of the input pixel before each output pixel's centre, and the next one's weight."""
    centre = _source(low, high, length) + 0.5 * _scale(low, high, length) - 0.5
    centre = centre.clamp(0, length - 1)
    before = centre.floor()
    return before.long(), centre - before


def _neighbours_within(
    low: Tensor, high: Tensor, first: Tensor, last: Tensor, length: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what `_neighbours` does for the input pixels `first` to `last` - 1 (N,); also return the next pixel."""
    inside = (last - first).clamp_min(1)[:, None]
    scale = inside / (high - low).clamp_min(1)[:, None]
    at = torch.arange(length, device=low.device)
    centre = (at - low[:, None]) * scale + 0.5 * scale - 0.5
    centre = torch.minimum(centre.clamp_min(0), inside - 1)
    before = centre.floor()
    start = (before.long() + first[:, None]).clamp(0, length - 1)
    following = torch.minimum(start + 1, (last - 1)[:, None]).clamp_min(0)
    return start, following, centre - before
