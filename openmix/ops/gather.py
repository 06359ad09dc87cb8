"""Gather the rows of all processes in one tensor; no GPU sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather, get_world_size
from torch import Tensor
from torch import distributed as dist

# The default group, and the group of the same processes that communicates on the CPU.
_groups: list[Any] = []


def _group_on_cpu() -> Any:
    """Return a gloo group of all processes, which is made once; every process must call it."""
    default = dist.group.WORLD
    if dist.get_backend(default) == 'gloo':
        return default
    if not _groups or _groups[0] is not default:
        _groups[:] = [default, dist.new_group(backend='gloo')]
    return _groups[1]


def row_counts(x: Tensor) -> list[int]:
    """Return the number of rows (N, ...) of every process, in the order of ranks; every process must call it.

    The sizes of tensors must be known on the CPU, so the counts are exchanged there: no process waits for a GPU.
    """
    processes = get_world_size()
    if x.is_meta or processes == 1:
        return [len(x)]
    counts = [torch.zeros((), dtype=torch.int64) for _ in range(processes)]
    dist.all_gather(counts, torch.tensor(len(x)), group=_group_on_cpu())
    return [int(count) for count in counts]


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
