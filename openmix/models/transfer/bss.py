"""Batch Spectral Shrinkage (Chen et al., NeurIPS 2019)."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.losses.labels import at_least_float32
from openmix.models.classifier import MixClassifier
from openmix.models.mixing import Mixed
from openmix.ops.gather import gather_rows, row_counts
from openmix.ops.precision import full_precision
from openmix.registry import MODELS


def spectral_shrinkage(features: Tensor, count: int = 1) -> Tensor:
    """Sum the squares of the `count` smallest singular values of a batch of features (Chen et al., 2019, equation 5).

    They are the eigenvalues of the smaller of its two Gram matrices, in at least float32: the larger one has zeros
    beside them. Finding them waits for the GPU.

    Args:
        features: (B, D).
        count: k, from 1 to min(B, D).

    Raises:
        InputError: there are fewer singular values.
    """
    if count > min(features.shape):
        raise InputError(
            f'BSS: features of {tuple(features.shape)} have {min(features.shape)} singular values, and count is {count}'
        )
    with full_precision(features):
        rows = at_least_float32(features)
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        return torch.linalg.eigvalsh(gram)[:count].sum()


def rows_of_all(features: Tensor) -> Tensor:
    """Gather features (N, D) of all processes as (sum of all N, D), with the gradient of the own rows.

    A loss of the result is the same in all processes. The gradient of the own rows is multiplied by the number of
    processes, since the mean that is taken of gradients divides it by that.
    """
    processes = 1 if features.is_meta else get_world_size()
    if processes == 1:
        return features
    counts = row_counts(features)
    parts = list(gather_rows(features, counts).split(counts))
    parts[get_rank()] = processes * features - (processes - 1) * features.detach()
    return torch.cat(parts)


@MODELS.register_module()
class BSS(MixClassifier):
    """Fine-tune with a penalty on the smallest singular values of each batch of features.

    The loss is that of `MixClassifier` plus weight * sum of the squares of the `count` smallest singular values of the
    batch's features, over all processes; with a policy that mixes, of the mixed images.

    Args:
        weight: eta; 0.001 in the paper.
        count: k, number of singular values; 1 in the paper.
        kwargs: see `MixClassifier`.

    Raises:
        InputError: a number is out of range; in `loss`, a batch is smaller than `count`.
    """

    def __init__(self, weight: float = 0.001, count: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_number('BSS: weight', weight, 0.0)
        check_number('BSS: count', count, 1)
        self.weight, self.count = weight, count

    def further_losses(self, mixed: Mixed, y: Tensor) -> dict[str, Tensor]:
        return {'shrinkage_loss': self.weight * spectral_shrinkage(rows_of_all(mixed.features), self.count)}
