"""The linear classification head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.losses.decoupled import decoupled_ce
from openmix.mix import Mix
from openmix.ops.batches import what
from openmix.registry import LOSSES, MODELS, LossConfig


@MODELS.register_module()
class LinearHead(nn.Module):
    """A linear layer with a loss on its logits.

    Args:
        in_features: D of the pooled features.
        num_classes: C >= 2.
        loss: registry dict of a loss `f(logits, y, mix)`.
        init_std: standard deviation of the initial weights; None: torch's default initialisation.

    Raises:
        InputError: fewer than two classes, or another argument is out of range.
    """

    def __init__(
        self, in_features: int, num_classes: int, loss: LossConfig | None = None, init_std: float | None = 0.01
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_number(f'{name}: in_features', in_features, 1)
        check_number(f'{name}: num_classes', num_classes, 2)
        if init_std is not None:
            check_number(f'{name}: init_std', init_std, 0.0)
        self.num_classes = num_classes
        self.fc = nn.Linear(in_features, num_classes)
        if init_std is not None:
            nn.init.normal_(self.fc.weight, std=init_std)
            nn.init.zeros_(self.fc.bias)
        self.criterion = LOSSES.build(loss or dict(type='mix_ce'))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D) pooled features to (N, C) logits.

        Raises:
            InputError: the features have another shape.
        """
        if not isinstance(features, Tensor) or features.dim() != 2 or features.shape[1] != self.fc.in_features:
            raise InputError(
                f'{type(self).__name__} takes (N, {self.fc.in_features}) pooled features, got {what(features)}; '
                f'return them from the forward of the backbone, and give their width as its num_features'
            )
        return self.fc(features)

    def loss(self, logits: Tensor, y: Tensor, mix: Mix) -> Tensor:
        """Compute the scalar loss on (N, C) logits, given the labels `y` of the clean batch."""
        return self.criterion(logits, y, mix)


@MODELS.register_module()
class DMHead(LinearHead):
    """A `LinearHead` with the decoupled loss DM(CE).

    Args:
        eta: weight of the decoupled term; 0.1 for static and 1 for dynamic policies in the paper.
        sides, smoothing, scale, least_share, skip_half: see `decoupled_ce`.
    """

    published = decoupled_ce.published

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        eta: float = 0.1,
        sides: str = 'both',
        smoothing: float = 0.0,
        scale: str = 'none',
        least_share: float = 0.0,
        skip_half: bool = False,
        **kwargs: Any,
    ) -> None:
        loss = dict(type='decoupled_ce', eta=eta, sides=sides, smoothing=smoothing)
        loss |= dict(scale=scale, least_share=least_share, skip_half=skip_half)
        super().__init__(in_features, num_classes, loss=loss, **kwargs)
