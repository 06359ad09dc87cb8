"""The error of a classifier under an attack, beside the metrics of a validation or test."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from openmix.errors import check_number
from openmix.evaluation.attacks import fgsm, pgd, pixel_size
from openmix.evaluation.changed_images import ChangedImagesHook, Logits
from openmix.registry import HOOKS


@HOOKS.register_module()
class FGSMHook(ChangedImagesHook):
    """Add `fgsm/error`: the error in percent under `fgsm`, as in Decoupled Mixup, Table 8.

    Args:
        eps: size of the step, of pixels in [0, 1], such as 8/255.
        only_last: see `ChangedImagesHook`.
    """

    def __init__(self, eps: float | str = 8 / 255, only_last: bool = False) -> None:
        super().__init__(only_last)
        self.eps = pixel_size('FGSMHook: eps', eps)

    def changed(self, logits_of: Logits, x: Tensor, y: Tensor, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield 'fgsm', fgsm(logits_of, x, y, self.eps)


@HOOKS.register_module()
class PGDHook(ChangedImagesHook):
    """Add `pgd/error`: the error in percent under `pgd`.

    Args:
        eps: largest distance of a pixel, of pixels in [0, 1].
        step: size of a step; None: eps / 4.
        iterations: number of steps.
        random_start: start within eps of the image, by draws of its id that are the same in every validation.
        only_last: see `ChangedImagesHook`.
    """

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

    def changed(self, logits_of: Logits, x: Tensor, y: Tensor, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
        start = x + self.eps * _noise(x, ids) if self.random_start else None
        yield 'pgd', pgd(logits_of, x, y, self.eps, self.step, self.iterations, start)


def _noise(x: Tensor, ids: Tensor) -> Tensor:
    """Draw noise in [-1, 1] like the images, the same for an id in every batch."""
    drawn = [torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(i)) for i in ids.tolist()]
    return (2 * torch.stack(drawn) - 1).to(x)
