"""Draw partners."""

from __future__ import annotations

import torch
from torch import Tensor

_TRIES = 16


def other_partners(n: int, device: torch.device | str | None = None) -> Tensor:
    """Draw an (n,) int64 permutation without fixed points, so that no row is its own partner.

    The first of 16 random permutations without fixed points is taken. If all have some, which happens once in
    1,500 draws, the rows are shifted by a random number. One row alone stays its own partner. No GPU sync.

    Args:
        n: number of rows, at least 1.
        device: device of the result, whose default generator is used.
    """
    rows = torch.arange(n, device=device)
    drawn = torch.rand(_TRIES, n, device=device).argsort(1)
    fits = (drawn != rows).all(1)
    first = drawn.index_select(0, fits.to(torch.int8).argmax(0, keepdim=True))[0]
    shift = torch.randint(1, max(n, 2), (1,), device=device)
    return torch.where(fits.any(), first, (rows + shift) % n)
