"""Queues of keys, one for each class, in one tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def pushed(queues: Tensor, position: Tensor, keys: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the oldest keys of each class by new ones, in the order of their rows; return new queues and positions.

    The result is that of pushing one key after another: of more than D keys of one class the last D stay. Nothing is
    written in place, because a backward pass may need the old queues, and there is no GPU sync.

    Args:
        queues: (C, D, P), the last D keys of every class.
        position: (C,) int64, the place in [0, D) of the oldest key of every class.
        keys: (N, P).
        classes: (N,) int64 in [0, C).
    """
    depth = queues.shape[1]
    same = classes[:, None] == classes
    place = classes * depth + (position[classes] + same.tril(-1).sum(1)) % depth
    # Rows with one place are written with the key of the last of them, so that the order of writing has no effect.
    rows = torch.arange(len(keys), device=keys.device)
    last = torch.where(place[:, None] == place, rows, 0).amax(1)
    new = queues.flatten(0, 1).index_copy(0, place, keys[last].to(queues.dtype)).view_as(queues)
    return new, position.index_add(0, classes, torch.ones_like(classes)) % depth
