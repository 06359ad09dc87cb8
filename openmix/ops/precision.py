"""Context managers for autocast: full precision for numerically sensitive code, and a safe `no_grad`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager:
    """Disable autocast on the device of `x`; do nothing on devices without autocast, such as meta."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


@contextmanager
def no_grad() -> Iterator[None]:
    """Act as `torch.no_grad` for weights that the same forward pass also trains, under autocast too.

    Older torch reuses the autocast copies of weights made inside `no_grad`, which have no gradient, so the
    cache is cleared on leaving.
    """
    with torch.no_grad():
        yield
    torch.clear_autocast_cache()
