"""Gather the rows of all processes in one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_gather, get_world_size
from torch import Tensor


def row_counts(x: Tensor) -> list[int]:
    """Return the number of rows (N, ...) of every process, in the order of ranks; every process must call it.

    With several processes this waits for the GPU: the sizes of tensors must be known on the CPU.
    """
    if x.is_meta or get_world_size() == 1:
        return [len(x)]
    return [int(count) for count in all_gather(torch.tensor(len(x)))]


def gather_rows(x: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """Gather rows (N, ...) of every process as (sum of all N, ...), in the order of ranks, without gradient.

    Every process must call it; N may differ, as it does where a data set skips unreadable images. On the meta device,
    where each process runs the preflight alone, it returns `x`.

    Args:
        x: the rows of this process, alike in all other dimensions in every process.
        counts: `row_counts(x)`, if it is known already, as for a second tensor of as many rows; None: it is asked for.
    """
    if x.is_meta:
        return x
    counts = row_counts(x) if counts is None else counts
    # A collective needs tensors of one shape.
    missing = max(counts) - len(x)
    padded = torch.cat([x.detach(), x.new_zeros(missing, *x.shape[1:])]) if missing else x.detach()
    return torch.cat([part[:count] for part, count in zip(all_gather(padded.contiguous()), counts)])
