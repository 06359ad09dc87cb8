"""The errors on published corrupted images, and their mean against those of AlexNet."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from openmix.data.corrupted import CORRUPTIONS, FURTHER, SEVERITIES, ImageNetC, corrupted_images
from openmix.errors import InputError, check_choice, check_number
from openmix.evaluation.corruption_hook import corruption_metrics
from openmix.registry import DATASETS, find

# AlexNet's errors in percent on ImageNet-C, mean over the severities, as published with the benchmark.
_OF_ALEXNET = dict(
    zip(
        CORRUPTIONS,
        (
            *(88.6428, 89.4468, 92.2640),
            *(81.9880, 82.6268, 78.5948, 79.8360),
            *(86.6816, 82.6572, 81.9324, 56.4592, 85.3204),
            *(64.6056, 71.7840, 60.6500),
        ),
        strict=True,
    )
)


def mean_corruption_error(errors: Mapping[str, float]) -> float | None:
    """Compute the mean corruption error (mCE) in percent: errors over AlexNet's, mean over the fifteen kinds.

    Hendrycks and Dietterich (ICLR 2019), section 4.2; of ImageNet-C alone.

    Args:
        errors: '<kind>/<severity>' -> error in percent.

    Returns:
        None unless every kind and severity has an error.
    """
    if any(f'{kind}/{severity}' not in errors for kind in CORRUPTIONS for severity in SEVERITIES):
        return None
    means = {kind: statistics.fmean(errors[f'{kind}/{severity}'] for severity in SEVERITIES) for kind in CORRUPTIONS}
    return statistics.fmean(100 * means[kind] / alexnet for kind, alexnet in _OF_ALEXNET.items())


def summary(of_alexnet: bool, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Make the metrics of `CorruptionHook` of the accuracies on corrupted images; on ImageNet-C `corruption/mce` too.

    Args:
        of_alexnet: the images are ImageNet-C's, so that AlexNet's errors are known.
        metrics: '<kind>/<severity>' -> metrics with `accuracy/top1`.
    """
    errors = {name: 100 - values['accuracy/top1'] for name, values in metrics.items()}
    mce = mean_corruption_error(errors) if of_alexnet else None
    return corruption_metrics(errors) | ({} if mce is None else {'corruption/mce': mce})


class CorruptedTests(NamedTuple):
    """Arguments of `openmix.engine.launch.evaluate` that test on published corrupted images."""

    further: dict[str, dict[str, Any]]
    summary: Callable[[Mapping[str, Mapping[str, float]]], dict[str, float]]


def corrupted_tests(
    cfg: Mapping[str, Any], root: str, kinds: Sequence[str] = (), severities: Sequence[int] = ()
) -> CorruptedTests:
    """Make the tests on the published corrupted versions of a recipe's test images.

    Args:
        cfg: registry dict of the clean test images.
        root: folder of the published files.
        kinds: names of corruptions; empty: the fifteen of the benchmark.
        severities: from 1 to 5; empty: all.

    Raises:
        InputError: an unknown kind, a severity out of range, or `root` is no folder.
    """
    for kind in kinds:
        check_choice('--corruptions', kind, (*CORRUPTIONS, *FURTHER))
    for severity in severities:
        check_number('--severities', severity, 1, 5)
    if not Path(root).is_dir():
        raise InputError(f'--corrupted-images: {root} is no folder; unpack the published archives there')
    places = [(kind, severity) for kind in kinds or CORRUPTIONS for severity in severities or SEVERITIES]
    further = {f'{kind}/{severity}': corrupted_images(cfg, root, kind, severity) for kind, severity in places}
    of_alexnet = issubclass(find(DATASETS, next(iter(further.values()))['type']), ImageNetC)
    return CorruptedTests(further, partial(summary, of_alexnet))
