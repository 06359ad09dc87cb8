"""What the losses of a mixer compare the momentum encoder's features of mixed images with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Target:
    """Make of the momentum encoder's features of mixed images the logits that a loss of the mixer reads.

    Attributes:
        logits: maps (N, D) features to (N, C) logits; gradients flow to the features, and to no parameter.
        y: (M,) int64, the column of every clean image.
        options: further arguments of the loss, such as `keys` of `info_nce`.
    """

    logits: Callable[[Tensor], Tensor]
    y: Tensor
    options: Mapping[str, Any] = field(default_factory=dict)
