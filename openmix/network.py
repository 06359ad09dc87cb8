"""A classifier as policies, evaluation and export see it: a backbone and a head."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class HasClasses(Protocol):
    """A head, a whole classifier or a preprocessor with the attribute `num_classes`, the number of classes C."""

    num_classes: int


class Network(nn.Module):
    """A backbone and a head: map (N, 3, H, W) normalised images to (N, C) logits.

    It refers to the given modules and does not copy them. An algorithm creates a `Network` on request and does not
    store it, because checkpoints would then contain its parameters twice.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        head: (N, D) -> (N, C).
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))
