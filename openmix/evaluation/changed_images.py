"""The error of a classifier on changed images, beside the metrics of a validation or test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import Tensor

from openmix.algorithm import Algorithm, algorithm_of
from openmix.errors import InputError
from openmix.evaluation.accuracy import labels_and_ids, rank_of_label, rows_of_all
from openmix.models.classifier import Classifier
from openmix.models.preprocessor import ImagePreprocessor, to_pixels

Logits = Callable[[Tensor], Tensor]


class ChangedImagesHook(Hook):
    """Change every image of a validation or test, and add errors of the classifier, in percent, to its metrics.

    The evaluated network runs in evaluation mode, with normalisation as a part of it. Images that are classified
    wrongly as they are count too. Nothing of the network changes, and no draw is taken from training's generators.

    Args:
        only_last: change images in the validation at the end of training alone, not in those before. A run that another
            hook ends earlier has no such error.
    """

    # Runs before the metrics are logged.
    priority = 'HIGHEST'

    def __init__(self, only_last: bool = False) -> None:
        self.only_last = only_last
        self.rows: dict[str, list[Tensor]] = defaultdict(list)

    def changed(self, logits_of: Logits, x: Tensor, y: Tensor, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield a name and changed images, (N, 3, H, W) pixels in [0, 1], for each way of changing.

        Args:
            logits_of: maps pixels to (N, C) logits.
            x: (N, 3, H, W) pixels in [0, 1].
            y, ids: (N,) int64.
        """
        raise NotImplementedError

    def metrics(self, errors: Mapping[str, float]) -> dict[str, float]:
        """Make the metrics of the errors in percent, by the names of `changed`."""
        return {f'{name}/error': error for name, error in errors.items()}

    def before_run(self, runner: Any) -> None:
        self._parts(runner)

    def before_val_epoch(self, runner: Any) -> None:
        self.rows.clear()

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.only_last and runner.iter < runner.max_iters:
            return
        model, preprocessor = self._parts(runner)
        preprocessor(data_batch, training=False)  # checks the batch
        batch = preprocessor.cast_data(data_batch)
        pixels, (y, ids) = to_pixels(batch['inputs']), labels_and_ids(batch)
        network = model.network(type(self).__name__)

        def logits_of(images: Tensor) -> Tensor:
            return network(preprocessor.network_input(images))

        for name, images in self.changed(logits_of, pixels, y, ids):
            wrong = rank_of_label(logits_of(images).float(), y) > 0
            self.rows[name].append(torch.stack([ids.double(), wrong.double()], 1).cpu())

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        # A process without a batch has no names.
        names = max(all_gather_object(list(self.rows)), key=len)
        errors = {name: rows_of_all(self.rows[name])[:, 1].mean().item() * 100 for name in names}
        if metrics is not None and errors:
            metrics |= self.metrics(errors)

    before_test_epoch, after_test_iter, after_test_epoch = before_val_epoch, after_val_iter, after_val_epoch

    def _parts(self, runner: Any) -> tuple[Algorithm, ImagePreprocessor]:
        model = algorithm_of(runner.model)
        model.network(type(self).__name__)
        if isinstance(model, Classifier) and model.ten_crop is not None:
            raise InputError(
                f'{type(self).__name__} changes whole images, and the model is evaluated on ten crops; '
                'leave ten_crop out'
            )
        if not isinstance(model.data_preprocessor, ImagePreprocessor):
            raise InputError(f'{type(self).__name__} changes pixels, so it needs an ImagePreprocessor')
        return model, model.data_preprocessor
