"""Rows of all processes, in one tensor."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather
from torch import Tensor


def gather_rows(x: Tensor) -> Tensor:
    """(world size * N, ...) the rows (N, ...) of every process, in the order of ranks, without gradient.

    Every process calls it, with as many rows. On the meta device, where a recipe is tried by each process alone, they
    are its own.
    """
    return x if x.is_meta else torch.cat(all_gather(x.detach()))
