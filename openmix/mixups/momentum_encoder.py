"""`MomentumEncoder`: a network that follows another one as an exponential moving average."""

from __future__ import annotations

from torch import Tensor, nn

from openmix.ops.ema import ema_update, frozen_copy


class MomentumEncoder(nn.Module):
    """Frozen copies of a backbone and its heads, which follow them as exponential moving averages.

    Gradients pass through it to its input. Batch-norm statistics are its own: they are counted where it runs in
    training mode, and copied from the others' only by `start`.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        heads: each (N, D) -> (N, C) logits or embeddings, by name.
    """

    def __init__(self, backbone: nn.Module, **heads: nn.Module) -> None:
        super().__init__()
        self.backbone = frozen_copy(backbone)
        self.heads = nn.ModuleDict({name: frozen_copy(head) for name, head in heads.items()})

    def forward(self, x: Tensor, head: str = 'head') -> Tensor:
        """(N, C) what one of the heads puts out for the images `x` (N, 3, H, W)."""
        return self.heads[head](self.backbone(x))

    def start(self, backbone: nn.Module, **heads: nn.Module) -> None:
        """Copy parameters and statistics of the networks that are followed, into the same tensors."""
        self.backbone.load_state_dict(backbone.state_dict())
        for name, head in heads.items():
            self.heads[name].load_state_dict(head.state_dict())

    def follow(self, momentum: float, backbone: nn.Module, **heads: nn.Module) -> None:
        """Move every parameter to momentum * old + (1 - momentum) * new; see `ema_update`."""
        ema_update(self.backbone, backbone, momentum)
        for name, head in heads.items():
            ema_update(self.heads[name], head, momentum)
