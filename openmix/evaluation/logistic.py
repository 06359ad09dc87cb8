"""Accuracy of logistic regression on the features of a backbone: linear evaluation without training by epochs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.evaluation.feature_bank import BankAccuracy
from openmix.ops.precision import full_precision
from openmix.registry import METRICS


@METRICS.register_module()
class LogisticAccuracy(BankAccuracy):
    """`logistic/top1`: percentage of images that logistic regression on the features of a bank classifies right.

    It is fitted once for each validation, see `fit_logistic`, in seconds where a linear classifier that is trained by
    epochs takes hours; published numbers are of the latter, see `LinearProbe`.

    Args:
        weight_decay: of the squared weights, see `fit_logistic`.
        iterations: the most iterations of L-BFGS.
        prefix: see `BankAccuracy`.

    Raises:
        InputError: a number is out of range, or the bank has features that are not finite; see `BankAccuracy`.
    """

    default_prefix = 'logistic'

    def __init__(self, weight_decay: float = 1e-3, iterations: int = 200, prefix: str | None = None) -> None:
        super().__init__(prefix)
        check_number('LogisticAccuracy: weight_decay', weight_decay, 0.0)
        check_number('LogisticAccuracy: iterations', iterations, 1)
        self.weight_decay, self.iterations = weight_decay, iterations
        self._fitted: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def scores(self, features: Tensor, bank: Tensor, labels: Tensor, classes: int) -> Tensor:
        if self._fitted is None or self._fitted[0] is not bank:
            if not bank.isfinite().all():
                raise InputError('LogisticAccuracy: the features of the bank are not finite; did the training diverge?')
            mean, deviation = bank.mean(0), bank.std(0, correction=0).clamp(min=1e-6)
            known = int(labels.amax()) + 1
            fitted = fit_logistic((bank - mean) / deviation, labels, known, self.weight_decay, self.iterations)
            self._fitted = bank, mean, deviation, fitted
        _, mean, deviation, fitted = self._fitted
        # A class above those of the bank has no weights, and is never the best.
        scores = features.new_full((len(features), classes), float('-inf'))
        with full_precision(features):
            scores[:, : fitted.shape[1]] = (features - mean) / deviation @ fitted[:-1] + fitted[-1]
        return scores

    def evaluate(self, size: int) -> dict[str, float]:
        self._fitted = None
        return super().evaluate(size)


def fit_logistic(x: Tensor, y: Tensor, classes: int, weight_decay: float, iterations: int) -> Tensor:
    """Fit multinomial logistic regression by L-BFGS: mean cross-entropy + weight_decay / 2 * sum of squared weights.

    Args:
        x: (B, D) features.
        y: (B,) int64 labels in [0, C).
        classes: C.
        weight_decay: >= 0; the bias does not decay.
        iterations: the most iterations.

    Returns:
        (D + 1, C) weights, the bias last.
    """
    weights = x.new_zeros(x.shape[1] + 1, classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights], max_iter=iterations, history_size=10, tolerance_grad=1e-6, line_search_fn='strong_wolfe'
    )

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weights[:-1] + weights[-1], y) + weight_decay / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad(), full_precision(x):
        solver.step(objective)
    return weights.detach()
