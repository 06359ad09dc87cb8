"""The error of a classifier under an attack, beside the metrics of a validation or test."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import Tensor

from openmix.algorithm import Algorithm, algorithm_of
from openmix.errors import InputError, check_number
from openmix.evaluation.accuracy import rank_of_label, rows_of_all
from openmix.evaluation.attacks import fgsm, pgd, pixel_size
from openmix.models.preprocessor import ImagePreprocessor, to_pixels
from openmix.registry import HOOKS


class AttackHook(Hook):
    """Attack every image of a validation or test and add `<name>/error`, in percent, to its metrics.

    The evaluated network is attacked in evaluation mode, with normalisation as a part of it. Images that are classified
    wrongly without an attack count too. Nothing of the network changes, and no draw is taken from training's
    generators.

    Args:
        only_last: attack in the validation at the end of training alone, not in those before.

    Attributes:
        name: of the attack, in the metric.
    """

    # Runs before the metrics are logged.
    priority = 'HIGHEST'
    name: str

    def __init__(self, only_last: bool = False) -> None:
        self.only_last = only_last
        self.rows: list[Tensor] = []

    def attacked(self, network: Any, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        """Return the attacked images, (N, 3, H, W) pixels in [0, 1].

        Args:
            network: maps pixels to (N, C) logits.
            x: (N, 3, H, W) pixels in [0, 1].
            y, ids: (N,) int64.
        """
        raise NotImplementedError

    def before_run(self, runner: Any) -> None:
        self._parts(runner)

    def before_val_epoch(self, runner: Any) -> None:
        self.rows.clear()

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.only_last and runner.iter < runner.max_iters:
            return
        model, preprocessor = self._parts(runner)
        preprocessor(data_batch)  # checks the batch
        batch = preprocessor.cast_data(data_batch)
        pixels, y, ids = to_pixels(batch['inputs']), batch.get('labels'), batch.get('ids')
        if y is None or ids is None:
            raise InputError(f'{type(self).__name__} needs labels and ids, and a batch of the data has none')
        network = model.network(type(self).__name__)

        def logits_of(images: Tensor) -> Tensor:
            return network(preprocessor.network_input(images))

        found = self.attacked(logits_of, pixels, y, ids)
        wrong = rank_of_label(logits_of(found).float(), y) > 0
        self.rows.append(torch.stack([ids.double(), wrong.double()], 1).cpu())

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if not any(all_gather_object(bool(self.rows))):
            return
        _, wrong = rows_of_all(self.rows).unbind(1)
        if metrics is not None:
            metrics[f'{self.name}/error'] = wrong.mean().item() * 100

    before_test_epoch, after_test_iter, after_test_epoch = before_val_epoch, after_val_iter, after_val_epoch

    def _parts(self, runner: Any) -> tuple[Algorithm, ImagePreprocessor]:
        model = algorithm_of(runner.model)
        model.network(type(self).__name__)
        if not isinstance(model.data_preprocessor, ImagePreprocessor):
            raise InputError(f'{type(self).__name__} attacks pixels, so it needs an ImagePreprocessor')
        return model, model.data_preprocessor


@HOOKS.register_module()
class FGSMHook(AttackHook):
    """Add `fgsm/error`: the error in percent under `fgsm`, as in Decoupled Mixup, Table 8.

    Args:
        eps: size of the step, of pixels in [0, 1], such as 8/255.
        only_last: see `AttackHook`.
    """

    name = 'fgsm'

    def __init__(self, eps: float | str = 8 / 255, only_last: bool = False) -> None:
        super().__init__(only_last)
        self.eps = pixel_size('FGSMHook: eps', eps)

    def attacked(self, network: Any, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        return fgsm(network, x, y, self.eps)


@HOOKS.register_module()
class PGDHook(AttackHook):
    """Add `pgd/error`: the error in percent under `pgd`.

    Args:
        eps: largest distance of a pixel, of pixels in [0, 1].
        step: size of a step; None: eps / 4.
        iterations: number of steps.
        random_start: start within eps of the image, by draws of its id that are the same in every validation.
        only_last: see `AttackHook`.
    """

    name = 'pgd'

    def __init__(
        self,
        eps: float | str = 8 / 255,
        step: float | str | None = None,
        iterations: int = 10,
        random_start: bool = True,
        only_last: bool = False,
    ) -> None:
        super().__init__(only_last)
        self.eps = pixel_size('PGDHook: eps', eps)
        self.step = self.eps / 4 if step is None else pixel_size('PGDHook: step', step)
        check_number('PGDHook: iterations', iterations, 1)
        self.iterations, self.random_start = iterations, random_start

    def attacked(self, network: Any, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        start = x + self.eps * _noise(x, ids) if self.random_start else None
        return pgd(network, x, y, self.eps, self.step, self.iterations, start)


def _noise(x: Tensor, ids: Tensor) -> Tensor:
    """Draw noise in [-1, 1] like the images, the same for an id in every batch."""
    drawn = [torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(i)) for i in ids.tolist()]
    return (2 * torch.stack(drawn) - 1).to(x)
