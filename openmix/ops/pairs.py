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


@torch.no_grad()
def greedy_cycle(distance: Tensor) -> Tensor:
    """Pair rows greedily by distance; return (N,) int64 partners, a single cycle through all rows.

    The cycle begins with the pair of the largest distance. Each row is followed by the farthest of the rows that have
    none before them yet, the first of equal ones; the last row is followed by the first. The N steps depend on each
    other, and are enqueued without a GPU sync.

    Args:
        distance: (N, N), distance of row i from row j; the diagonal is not read.
    """
    n = len(distance)
    distance = distance.clone().fill_diagonal_(-torch.inf)
    first = distance.flatten().argmax().view(1) // n
    partner = torch.zeros(n, dtype=torch.int64, device=distance.device)
    row, taken = first, torch.zeros(n, dtype=distance.dtype, device=distance.device)
    for _ in range(n - 1):
        taken.index_fill_(0, row, -torch.inf)
        following = (distance.index_select(0, row)[0] + taken).argmax().view(1)
        partner.index_copy_(0, row, following)
        row = following
    return partner.index_copy_(0, row, first)
