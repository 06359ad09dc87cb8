"""Full precision for computations that half precision would spoil."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager:
    """A context without autocast for the device of `x`; also for devices that do not know it, as meta."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


@contextmanager
def no_grad() -> Iterator[None]:
    """`torch.no_grad` for weights that are trained in the same forward pass, also under autocast.

    Older torch goes on with the casts that were made inside, which have no gradient.
    """
    with torch.no_grad():
        yield
    torch.clear_autocast_cache()
