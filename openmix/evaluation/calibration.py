"""How far confidences differ from accuracies."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from torch import Tensor

from openmix.errors import InputError, check_number, install_hint
from openmix.evaluation.accuracy import labels_and_ids, rank_of_label, rows_of_all
from openmix.registry import METRICS

# The norm of the differences of the bins that each error is, as torchmetrics calls it.
_NORMS = {'ece': 'l1', 'rms': 'l2', 'mce': 'max'}


def check_torchmetrics(what: str) -> None:
    """Raise an `InputError` that begins with `what` if torchmetrics is not installed."""
    if importlib.util.find_spec('torchmetrics') is None:
        raise InputError(f'{what} needs torchmetrics: {install_hint("evaluation")}')


def calibration_errors(confidence: Tensor, right: Tensor, bins: int) -> dict[str, float]:
    """Compute 'ece', 'rms' and 'mce' in percent, see `Calibration`; torchmetrics must be installed.

    Args:
        confidence: (N,) largest probabilities.
        right: (N,) 1 where the most probable class is right, else 0.
        bins: number of bins.
    """
    # Imported here, because it takes seconds.
    from torchmetrics.functional.classification import binary_calibration_error

    # torchmetrics' bins are [low, high), and 1 has one of its own; the paper's are (low, high].
    confidence = confidence.double()
    placed = confidence.nextafter(torch.zeros_like(confidence))
    # Whether the most probable class is right is a problem of two classes.
    return {
        name: 100 * binary_calibration_error(placed, right.long(), bins, norm).item()  # type: ignore[arg-type]
        for name, norm in _NORMS.items()
    }


@METRICS.register_module()
class Calibration(BaseMetric):
    """Measure the calibration of a classifier's most probable classes.

    The confidences are sorted into bins (low, high] of equal width; in each, the mean confidence is compared with the
    accuracy.

    - `calibration/ece`, in percent: the mean difference, weighted by the images of a bin (expected calibration error,
      Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. 3).
    - `calibration/rms`, in percent: the root of the weighted mean squared difference.
    - `calibration/mce`, in percent: the largest difference (maximum calibration error, Eq. 5).
    - `calibration/brier`, in [0, 2]: the squared distance of the probabilities from the one-hot label, summed over the
      classes, mean over the images (Brier, 1950). It needs no bins.

    Args:
        bins: number of bins.

    Raises:
        InputError: `bins` is no positive integer, or torchmetrics is not installed.
    """

    default_prefix = 'calibration'
    reads = frozenset({'logits'})
    names = ('calibration/ece', 'calibration/rms', 'calibration/mce', 'calibration/brier')

    def __init__(self, bins: int = 15) -> None:
        super().__init__(collect_device='cpu')
        check_number('Calibration: bins', bins, 1)
        check_torchmetrics('Calibration')
        self.bins = bins

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Store (id, confidence, 1 if right, Brier score) of every image of the batch."""
        for batch in data_samples:
            logits, (y, ids) = batch['logits'].double(), labels_and_ids(batch)
            share = logits.softmax(1)
            brier = (share - F.one_hot(y, logits.shape[1])).square().sum(1)
            right = rank_of_label(batch['logits'], y) == 0
            self.results.append(torch.stack([ids.double(), share.amax(1), right.double(), brier], 1).cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Compute the metrics from rows of id, confidence, 1 if right, and Brier score."""
        _, confidence, right, brier = rows_of_all(results).T.contiguous()
        found = calibration_errors(confidence, right, self.bins)
        return {**found, 'brier': brier.mean().item()}

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the metrics over the images of all processes; those that a sampler repeats count once."""
        found = self.compute_metrics(self.results)
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in found.items()}
