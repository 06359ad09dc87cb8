"""Masks as shares."""

from __future__ import annotations

import torch
from torch import Tensor


def as_shares(mask: Tensor) -> Tensor:
    """A bool mask as float32 zeros and ones."""
    # On the CPU torch casts bytes with vector instructions, bools one at a time.
    return mask.view(torch.uint8).float()
