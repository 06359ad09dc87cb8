"""Grids of cells over images: which cell each pixel lies in, and masks of cells at the size of the image."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_of(length: int, cells: int, device: torch.device | str | None = None) -> Tensor:
    """Compute the (length,) int64 index of the cell of every pixel along one side.

    Cell i has the pixels from ceil(i length / cells) on. If `cells` does not divide the length, some cells have a pixel
    more than others; if there are more cells than pixels, some have none.

    Args:
        length: pixels of the side.
        cells: cells of the side.
        device: device of the result.
    """
    return torch.arange(length, device=device) * cells // length


def spread_cells(chosen: Tensor, height: int, width: int) -> Tensor:
    """Enlarge a map of cells to the image, each pixel with the value of its cell.

    Args:
        chosen: (N, 1, h, w), one value a cell, of any dtype.
        height, width: size of the image.

    Returns:
        (N, 1, height, width) in the dtype of `chosen`.
    """
    rows = cell_of(height, chosen.shape[2], chosen.device)
    columns = cell_of(width, chosen.shape[3], chosen.device)
    return chosen.index_select(2, rows).index_select(3, columns)
