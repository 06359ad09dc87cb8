"""Conversions of masks."""

from __future__ import annotations

import torch
from torch import Tensor


def as_shares(mask: Tensor) -> Tensor:
    """Convert a bool mask to float32 zeros and ones."""
    # On the CPU torch vectorises the cast from bytes, but not the cast from bools.
    return mask.view(torch.uint8).float()
