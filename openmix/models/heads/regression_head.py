"""The linear head of a regression."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.losses.regression import OfNumbers
from openmix.mix import Mix
from openmix.ops.batches import what
from openmix.registry import LOSSES, MODELS, LossConfig, find


@MODELS.register_module()
class RegressionHead(nn.Module):
    """A linear layer whose outputs are numbers, in standard deviations of the training data from their mean.

    Args:
        in_features: D of the pooled features.
        num_outputs: K, the numbers of an image.
        loss: registry dict of a loss of numbers `f(outputs, numbers, mix)`, `mix_mse` or `mix_l1`; None: `mix_mse`.
        init_std: standard deviation of the initial weights.

    Raises:
        InputError: an argument is out of range, or the loss is one of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, in_features: int, num_outputs: int = 1, loss: LossConfig | None = None, init_std: float = 0.01
    ) -> None:
        super().__init__()
        check_number('RegressionHead: in_features', in_features, 1)
        check_number('RegressionHead: num_outputs', num_outputs, 1)
        check_number('RegressionHead: init_std', init_std, 0.0)
        loss = loss or dict(type='mix_mse')
        if not isinstance(find(LOSSES, loss.get('type')), OfNumbers):
            raise InputError(
                f'RegressionHead: {loss["type"]} is a loss of classes, and the labels are numbers; take mix_mse '
                'or mix_l1'
            )
        self.num_outputs = num_outputs
        self.fc = nn.Linear(in_features, num_outputs)
        nn.init.normal_(self.fc.weight, std=init_std)
        nn.init.zeros_(self.fc.bias)
        self.register_buffer('mean', torch.zeros(num_outputs))
        self.register_buffer('std', torch.ones(num_outputs))
        self.criterion = LOSSES.build(loss)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D) pooled features to (N, K) standardised outputs.

        Raises:
            InputError: the features have another shape.
        """
        if not isinstance(features, Tensor) or features.dim() != 2 or features.shape[1] != self.fc.in_features:
            raise InputError(
                f'RegressionHead takes (N, {self.fc.in_features}) pooled features, got {what(features)}; return them '
                'from the forward of the backbone, and give their width as its num_features'
            )
        return self.fc(features)

    def standardised(self, numbers: Tensor) -> Tensor:
        """Return (N, K) numbers in standard deviations from the mean of the training data."""
        return (numbers - self.mean) / self.std

    def values(self, outputs: Tensor) -> Tensor:
        """Return (N, K) outputs of `forward` in the unit of the data, float32."""
        return outputs.float() * self.std + self.mean

    def loss(self, outputs: Tensor, numbers: Tensor, mix: Mix) -> Tensor:
        """Compute the scalar loss on (N, K) outputs, given the standardised numbers (M, K) of the clean batch."""
        return self.criterion(outputs, numbers, mix)
