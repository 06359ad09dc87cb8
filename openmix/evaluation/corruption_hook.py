"""The error of a classifier on corrupted images, beside the metrics of a validation or test."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.evaluation.changed_images import ChangedImagesHook, Logits
from openmix.ops.corruptions import KINDS, LEVELS, corrupt
from openmix.registry import HOOKS

_LARGEST_OF_CIFAR = 64  # pixels of a side


def corruption_metrics(errors: Mapping[str, float]) -> dict[str, float]:
    """Make the metrics of the errors in percent on corrupted images, see `CorruptionHook`.

    Args:
        errors: '<kind>/<severity>' -> error.
    """
    of_kind: dict[str, list[float]] = {}
    for name, error in errors.items():
        of_kind.setdefault(name.partition('/')[0], []).append(error)
    means = {kind: statistics.fmean(values) for kind, values in of_kind.items()}
    named = {f'corruption/{name}': error for name, error in {**errors, **means}.items()}
    return {**named, 'corruption/error': statistics.fmean(means.values())}


@HOOKS.register_module()
class CorruptionHook(ChangedImagesHook):
    """Add the errors, in percent, on images with common corruptions (Hendrycks and Dietterich, ICLR 2019).

    `corruption/<kind>/<severity>` is that of one corruption, `corruption/<kind>` its mean over the severities, and
    `corruption/error` the mean over all. It is not normalised by another network's errors.

    Args:
        kinds: names of corruptions, see `openmix.ops.corruptions.KINDS`; None: all.
        severities: from 1 to 5.
        scale: 'cifar' or 'imagenet': whose levels the severities have; None: CIFAR's up to 64 pixels a side.
        only_last: see `ChangedImagesHook`.

    Raises:
        InputError: an unknown kind or scale, or a severity is not in 1 .. 5.
    """

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        scale: str | None = None,
        only_last: bool = False,
    ) -> None:
        super().__init__(only_last)
        self.kinds = tuple(KINDS if kinds is None else kinds)
        self.severities, self.scale = tuple(severities), scale
        if not self.kinds or not self.severities:
            raise InputError('CorruptionHook: name at least one kind and one severity')
        for kind in self.kinds:
            check_choice('CorruptionHook: kinds', kind, KINDS)
        for severity in self.severities:
            check_number('CorruptionHook: severities', severity, 1, 5)
        if scale is not None:
            check_choice('CorruptionHook: scale', scale, LEVELS)

    def changed(self, logits_of: Logits, x: Tensor, y: Tensor, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
        scale = self.scale or ('cifar' if max(x.shape[-2:]) <= _LARGEST_OF_CIFAR else 'imagenet')
        for kind in self.kinds:
            for severity in self.severities:
                yield f'{kind}/{severity}', corrupt(x, kind, severity, scale, ids)

    def metrics(self, errors: Mapping[str, float]) -> dict[str, float]:
        return corruption_metrics(errors)
