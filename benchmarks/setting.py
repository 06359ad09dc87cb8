"""`Setting`: the options that every suite gets."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Setting:
    """Options of a benchmark run.

    Attributes:
        device: device of the tensors.
        quick: smallest sizes, to check that everything runs; the times are meaningless.
        peer: OpenMixup's module of mixup functions; None if no checkout was given.
        minutes: duration of the training in the suite `memory`.
    """

    device: str = 'cpu'
    quick: bool = False
    peer: ModuleType | None = None
    minutes: float = 1.0
