"""Gather the rows of all processes in one tensor."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather
from torch import Tensor


def gather_rows(x: Tensor) -> Tensor:
    """Gather rows (N, ...) of every process as (world size * N, ...), in the order of ranks, without gradient.

    Every process must call it with the same N. On the meta device, where each process runs the preflight alone, it
    returns `x`.
    """
    return x if x.is_meta else torch.cat(all_gather(x.detach()))
