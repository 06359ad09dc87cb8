"""InfoNCE: cross-entropy of an embedding among keys, each of which stands for one image."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.losses.labels import at_least_float32, check_batch, mean_of_rows, refuse_earlier
from openmix.mix import Mix
from openmix.ops.batches import what
from openmix.registry import LOSSES


@LOSSES.register_module()
def info_nce(
    logits: Tensor,
    y: Tensor,
    mix: Mix,
    temperature: float = 0.2,
    keys: int = 0,
    rows: Tensor | None = None,
    classes: Tensor | None = None,
    key_classes: Tensor | None = None,
) -> Tensor:
    """Compute InfoNCE of mixed images, sum_k weight_k CE(positive of source k), averaged over the batch.

    Of every source the softmax is over its own positive and the columns from `keys` on, which are the negatives. So the
    positives of the other sources, and of the other images of the batch, are no negatives; with `keys=0` all are, as in
    i-Mix (Lee et al., ICLR 2021).

    Args:
        logits: (N, C) dot products of N embeddings with C keys, not divided by the temperature; any float type,
            computed in at least float32.
        y: (M,) int64 column of the positive of every clean image.
        mix: how the batch was mixed; K = 1 is the InfoNCE of clean images (van den Oord et al., 2018).
        temperature: what the dot products are divided by, > 0.
        keys: number of first columns that are keys of the batch, and not negatives.
        rows: weights of the samples, see `mean_of_rows`.
        classes, key_classes: (M,) and (C - keys,) int64 classes or pseudo-labels of the clean images and of the
            negatives, those that are not known below 0. Negatives of the class of a source are left out of its term:
            infoNCE (L) and infoNCE (PL) (Automatic Mixup, Section 3.3). A term without negatives is 0.

    Returns:
        scalar.

    Raises:
        InputError: a number is out of range, there are no negatives, `y` are class probabilities, or `rows` or the
            classes do not fit.
    """
    check_batch('info_nce', logits, y, mix)
    refuse_earlier('info_nce', mix)
    check_number('info_nce: temperature', temperature, 0.0, above=True)
    check_number('info_nce: keys', keys, 0)
    if y.dim() != 1:
        raise InputError('info_nce: y must be (M,) int64 columns of the positives, got class probabilities')
    if keys >= logits.shape[1]:
        raise InputError(f'info_nce: all {logits.shape[1]} columns are keys of the batch, so there are no negatives')
    scaled = at_least_float32(logits) / temperature
    column = y[mix.source]
    positive = scaled.gather(1, column)
    if classes is not None or key_classes is not None:
        total = _with_other_classes(scaled, y, mix, keys, classes, key_classes)
    else:
        negatives = scaled[:, keys:].logsumexp(1, keepdim=True)
        # A positive among the negatives is in their sum already.
        total = torch.where(column < keys, torch.logaddexp(negatives, positive), negatives)
    nll = (mix.weight.to(scaled.dtype) * (total - positive)).sum(1)
    return mean_of_rows('info_nce', nll, rows)


def _with_other_classes(
    scaled: Tensor, y: Tensor, mix: Mix, keys: int, classes: Tensor | None, key_classes: Tensor | None
) -> Tensor:
    """Compute (N, K) logarithms of the sums over each source's positive and the negatives of other classes.

    Raises:
        InputError: one of the two is missing, or has not one class a row.
    """
    if keys < len(y):
        raise InputError(f'info_nce: with classes the positives must be the first {len(y)} columns, got keys={keys}')
    classes = _checked('classes', classes, len(y))
    key_classes = _checked('key_classes', key_classes, scaled.shape[1] - keys)
    totals = []
    for source in mix.source.unbind(1):
        positive = scaled.gather(1, y[source][:, None])
        own = classes[source][:, None]
        dropped = (key_classes == own) & (own >= 0)
        # The positive stands among them, so that the sum has a term where every negative is dropped.
        negatives = scaled[:, keys:].masked_fill(dropped, -torch.inf)
        totals.append(torch.cat([positive, negatives], 1).logsumexp(1))
    return torch.stack(totals, 1)


def _checked(name: str, given: Tensor | None, n: int) -> Tensor:
    """Return classes of n rows.

    Raises:
        InputError: they are missing, or are not one class a row.
    """
    if not isinstance(given, Tensor) or given.shape != (n,) or given.is_floating_point():
        got = 'none' if given is None else what(given)
        raise InputError(f'info_nce: {name} must be ({n},) int64, got {got}; give both, or neither')
    return given
