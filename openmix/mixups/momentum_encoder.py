"""`MomentumEncoder`: an exponential moving average of a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from openmix.errors import InputError
from openmix.ops.ema import ema_update, frozen_copy


class MomentumEncoder(nn.Module):
    """Hold frozen copies of a backbone and its heads, updated as exponential moving averages of them.

    Gradients flow through it to its input. It has its own batch-norm statistics: they are updated when it runs in
    training mode, and copied from the original networks only by `start`.

    Args:
        backbone: maps (N, 3, H, W) to (N, D).
        heads: by name, each maps (N, D) to (N, C) logits or embeddings.
    """

    def __init__(self, backbone: nn.Module, **heads: nn.Module) -> None:
        super().__init__()
        self.backbone = frozen_copy(backbone)
        self.heads = nn.ModuleDict({name: frozen_copy(head) for name, head in heads.items()})

    def forward(self, x: Tensor, head: str = 'head') -> Tensor:
        """Compute the (N, C) output of one head for the images `x` (N, 3, H, W)."""
        return self.heads[head](self.backbone(x))

    def start(self, backbone: nn.Module, **heads: nn.Module) -> None:
        """Copy parameters and batch-norm statistics of the original networks, in place."""
        self._check(heads)
        self.backbone.load_state_dict(backbone.state_dict())
        for name, head in heads.items():
            self.heads[name].load_state_dict(head.state_dict())

    def follow(self, momentum: float, backbone: nn.Module, **heads: nn.Module) -> None:
        """Update every parameter to momentum * old + (1 - momentum) * new; see `ema_update`."""
        self._check(heads)
        ema_update(self.backbone, backbone, momentum)
        for name, head in heads.items():
            ema_update(self.heads[name], head, momentum)

    def _check(self, heads: Mapping[str, nn.Module]) -> None:
        """Raise an `InputError` where not all heads are given: one that is left out would stand still."""
        if heads.keys() != set(self.heads):
            raise InputError(f'MomentumEncoder has the heads {", ".join(self.heads)}, got {", ".join(heads) or "none"}')
