"""Losses of a regression on mixed samples: the squared and the absolute difference to the mixed label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch.nn.functional as F
from torch import Tensor

from openmix.losses.labels import at_least_float32, check_batch, label_shares, mean_of_rows
from openmix.mix import Mix
from openmix.registry import LOSSES

_Loss = TypeVar('_Loss', bound=Callable[..., Tensor])


@runtime_checkable
class OfNumbers(Protocol):
    """A loss whose labels may be numbers, as of a regression."""

    of_numbers: bool


def of_numbers(loss: _Loss) -> _Loss:
    """Mark a loss as one whose labels may be numbers, see `OfNumbers`."""
    loss.of_numbers = True  # type: ignore[attr-defined]
    return loss


def mixed_targets(name: str, predicted: Tensor, y: Tensor, mix: Mix) -> Tensor:
    """Compute the (N, D) mixed labels, sum_k weight_k y[source_k], in the dtype of the predictions.

    Args:
        name: the loss, for messages.
        predicted: (N, D), in at least float32.
        y: (M,) or (M, D) float labels; (M,) int64 classes stand for one-hot labels, D classes.
        mix: how the batch was mixed.
    """
    if isinstance(y, Tensor) and y.is_floating_point() and y.dim() == 1 and predicted.shape[1:] == (1,):
        y = y[:, None]
    check_batch(name, predicted, y, mix)
    return label_shares(predicted, y, mix)


@LOSSES.register_module()
@of_numbers
def mix_mse(logits: Tensor, y: Tensor, mix: Mix, rows: Tensor | None = None) -> Tensor:
    """Compute the squared difference of prediction and mixed label, averaged over D and the batch.

    Args:
        logits: (N, D) predictions for the mixed batch; any float type, computed in at least float32.
        y: (M,) or (M, D) float labels of the clean batch, D = 1 for (M,); or (M,) int64 classes, as one-hot labels.
        mix: how the batch was mixed; K = 1 is the plain loss.
        rows: weights of the samples, see `mean_of_rows`.

    Returns:
        scalar.

    Raises:
        InputError: the labels or `rows` do not fit the predictions.
    """
    predicted = at_least_float32(logits)
    target = mixed_targets('mix_mse', predicted, y, mix)
    return mean_of_rows('mix_mse', F.mse_loss(predicted, target, reduction='none').mean(1), rows)


@LOSSES.register_module()
@of_numbers
def mix_l1(logits: Tensor, y: Tensor, mix: Mix, rows: Tensor | None = None) -> Tensor:
    """Compute the absolute difference of prediction and mixed label, averaged over D and the batch.

    Arguments as of `mix_mse`.

    Raises:
        InputError: the labels or `rows` do not fit the predictions.
    """
    predicted = at_least_float32(logits)
    target = mixed_targets('mix_l1', predicted, y, mix)
    return mean_of_rows('mix_l1', F.l1_loss(predicted, target, reduction='none').mean(1), rows)
