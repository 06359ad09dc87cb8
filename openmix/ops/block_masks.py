"""Random masks made of several rectangular blocks, for a batch; no GPU sync."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# After so many attempts in a row that add no cell, a mask is left as it is.
_PATIENCE = 10
# Attempts in all. Of 2,000 masks of 112 cells on a 14 x 14 grid, the one that took most took 37.
_ATTEMPTS = 40
_LEAST_ASPECT = 0.3


def draw_block_masks(counts: Tensor, rows: int, columns: int) -> Tensor:
    """Draw (N, rows, columns) bool masks that are true in blocks, which cover up to `counts` (N,) cells.

    As in BEiT (Bao et al., ICLR 2022, algorithm 1): blocks of uniform area, from one cell to what is missing, and of
    log-uniform aspect ratio from 0.3 to 1 / 0.3 are put anywhere, one after the other, and may overlap. A block that is
    as large as a side of the grid, adds nothing, or adds more than is missing is drawn again; after ten such in a row
    the mask is left with fewer cells.
    """
    n, device = len(counts), counts.device
    mask = torch.zeros(n, rows, columns, dtype=torch.bool, device=device)
    down, across = torch.arange(rows, device=device), torch.arange(columns, device=device)
    failed = torch.zeros(n, dtype=torch.int64, device=device)
    # All that is drawn; only what depends on the blocks before is left to the loop.
    area, aspect, row, column = torch.rand(4, _ATTEMPTS, n, device=device)
    stretch = ((2 * aspect - 1) * -math.log(_LEAST_ASPECT)).exp()
    for attempt in range(_ATTEMPTS):
        missing = counts - mask.sum((1, 2))
        cells = 1 + area[attempt] * (missing - 1)
        tall = (cells * stretch[attempt]).clamp_min(0).sqrt().round()
        wide = (cells / stretch[attempt]).clamp_min(0).sqrt().round()
        top = (row[attempt] * (rows - tall + 1)).floor()
        left = (column[attempt] * (columns - wide + 1)).floor()
        in_rows = (down >= top[:, None]) & (down < (top + tall)[:, None])
        in_columns = (across >= left[:, None]) & (across < (left + wide)[:, None])
        block = in_rows[:, :, None] & in_columns[:, None, :]
        added = (block & ~mask).sum((1, 2))
        fits = (tall < rows) & (wide < columns) & (added > 0) & (added <= missing) & (failed < _PATIENCE)
        mask = mask | (block & fits[:, None, None])
        failed = torch.where(fits, 0, failed + 1)
    return mask
