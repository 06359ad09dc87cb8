"""How far predicted numbers are from the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from openmix.errors import InputError
from openmix.evaluation.accuracy import rows_of_all
from openmix.evaluation.calibration import check_torchmetrics
from openmix.registry import METRICS


@METRICS.register_module()
class RegressionError(BaseMetric):
    """Measure errors of predicted numbers, in the unit of the data; with several numbers, their mean.

    - `regression/mae`: mean absolute error.
    - `regression/rmse`: root mean squared error.
    - `regression/r2`: coefficient of determination, 1 minus the squared error over that of the tested images' mean: 1
      is exact, 0 as good as the mean.

    Samples are identified by id, so those that a distributed sampler repeats count once.

    Raises:
        InputError: torchmetrics is not installed; or a batch that is measured has no numbers.
    """

    default_prefix = 'regression'
    reads = frozenset({'values'})
    names = ('regression/mae', 'regression/rmse', 'regression/r2')

    def __init__(self) -> None:
        super().__init__(collect_device='cpu')
        check_torchmetrics('RegressionError')

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Store (id, K predicted, K true numbers) of every image of the batch."""
        for batch in data_samples:
            y, ids, values = batch.get('labels'), batch.get('ids'), batch['values']
            if ids is None or not isinstance(y, Tensor) or y.shape != values.shape or not y.is_floating_point():
                raise InputError('a batch of a regression that is measured must hold as many numbers as are predicted')
            self.results.append(torch.cat([ids.double()[:, None], values.double(), y.double()], 1).cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Compute the metrics from rows of id, predicted and true numbers."""
        # Imported here, because it takes seconds.
        from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

        rows = rows_of_all(results)[:, 1:]
        values, y = rows.chunk(2, 1)
        outputs = values.shape[1]
        root = mean_squared_error(values, y, squared=False, num_outputs=outputs)
        return {
            'mae': mean_absolute_error(values, y, num_outputs=outputs).mean().item(),
            'rmse': root.mean().item(),
            # Of one image there is no spread to compare with.
            'r2': r2_score(values, y).item() if len(y) > 1 else float('nan'),
        }

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the metrics over the images of all processes; those that a sampler repeats count once."""
        found = self.compute_metrics(self.results)
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in found.items()}
