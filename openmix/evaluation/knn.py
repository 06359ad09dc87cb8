"""Accuracy of a weighted k-nearest-neighbour classifier on the features of a backbone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from openmix.errors import check_number
from openmix.evaluation.feature_bank import BankAccuracy
from openmix.ops.precision import full_precision
from openmix.registry import METRICS


def knn_votes(features: Tensor, bank: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    """Compute the (N, C) votes of the k nearest images of a bank, each with weight exp(cosine / temperature).

    As for InstDisc (Wu et al., CVPR 2018). Weights are relative to that of the nearest, which changes no order.

    Args:
        features: (N, D) unit vectors.
        bank: (B, D) unit vectors, with k <= B.
        labels: (B,) int64 labels of the bank.
        classes: C.
        k: number of neighbours.
        temperature: > 0.
    """
    with full_precision(features):
        cosine, nearest = (features @ bank.T).topk(k, 1)
    weight = ((cosine - cosine[:, :1]) / temperature).exp()
    return weight.new_zeros(len(features), classes).scatter_add_(1, labels[nearest], weight)


@METRICS.register_module()
class KNNAccuracy(BankAccuracy):
    """`knn/top1`: percentage of images that their nearest images in a bank classify right, see `knn_votes`.

    Args:
        k: number of neighbours; all images of a smaller bank.
        temperature: > 0.
        prefix: see `BankAccuracy`.

    Raises:
        InputError: a number is out of range; see `BankAccuracy`.
    """

    default_prefix = 'knn'

    def __init__(self, k: int = 200, temperature: float = 0.1, prefix: str | None = None) -> None:
        super().__init__(prefix)
        check_number('KNNAccuracy: k', k, 1)
        check_number('KNNAccuracy: temperature', temperature, 0.0, above=True)
        self.k, self.temperature = k, temperature

    def scores(self, features: Tensor, bank: Tensor, labels: Tensor, classes: int) -> Tensor:
        features, bank = F.normalize(features, dim=1), F.normalize(bank, dim=1)
        return knn_votes(features, bank, labels, classes, min(self.k, len(bank)), self.temperature)
