"""Pass images through a network in another order, over all processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.dist import broadcast, get_rank, get_world_size
from torch import Tensor

from openmix.errors import InputError
from openmix.ops.gather import gather_rows, row_counts


def shuffled_keys(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Compute `network(x)` with the images of all processes in one random order, each normalised with others.

    Rank 0 draws the permutation (Shuffling BN; He et al., CVPR 2020, Section 3.3). No gradient flows.

    Args:
        network: maps (N, 3, H, W) to (N, P).
        x: (N, 3, H, W), equally many in every process.

    Returns:
        (N, P), in the order of `x`.

    Raises:
        InputError: the processes have different numbers of images.
    """
    n = len(x)
    if len(set(counts := row_counts(x))) > 1:
        raise InputError(f'batches of {counts} images in the processes cannot be shuffled; set drop_last=True')
    alone = x.is_meta or get_world_size() == 1
    order = torch.randperm(n * len(counts), device=x.device)
    if not alone:
        broadcast(order, 0)
    mine = slice(0, n) if alone else slice(get_rank() * n, (get_rank() + 1) * n)
    keys = gather_rows(network(gather_rows(x, counts)[order[mine]]), counts)
    return keys[order.argsort()[mine]]
