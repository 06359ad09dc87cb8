"""What every suite is told."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Setting:
    """How a run measures.

    Attributes:
        device: where tensors live.
        quick: smallest sizes, to see that everything runs; its times say nothing.
        peer: the peer's module of mixup functions, where one was named.
        minutes: how long the suite that watches memory trains.
    """

    device: str = 'cpu'
    quick: bool = False
    peer: ModuleType | None = None
    minutes: float = 1.0
