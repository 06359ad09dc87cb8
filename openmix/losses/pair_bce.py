"""Binary cross-entropy between the two classes, or the two keys, of a mixed image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.losses.labels import at_least_float32, check_batch, mean_of_rows, refuse_earlier
from openmix.mix import Mix
from openmix.registry import LOSSES


@LOSSES.register_module()
def pair_bce(
    logits: Tensor,
    y: Tensor,
    mix: Mix,
    temperature: float = 1.0,
    rows: Tensor | None = None,
) -> Tensor:
    """Compute -lam log s - (1 - lam) log(1 - s), s = sigmoid((z_i - z_j) / temperature), averaged over the batch.

    z_i and z_j are the logits of the classes of the two images, which is the parametric form, pBCE; or the dot products
    with their keys, which is the other, BCE (Automatic Mixup, Section 3.3 and Eq. 6). A pair of one class has a loss of
    0 and no gradient, and counts in the average.

    *Differs from the paper*: it prints neither logarithm nor exponential nor temperature; as a loss its formula would
    be least for wrong answers.

    Args:
        logits: (N, C), of any float type; computed in at least float32.
        y: (M,) int64 class, or column of the key, of every clean image.
        mix: how the batch was mixed, pairs.
        temperature: > 0; 0.2 is that of MoCo v2, for dot products of unit vectors.
        rows: weights of the samples, see `mean_of_rows`.

    Returns:
        scalar.

    Raises:
        InputError: the temperature is out of range, the images are no pairs of the batch, `y` are class
            probabilities, or `rows` do not fit.
    """
    check_batch('pair_bce', logits, y, mix)
    refuse_earlier('pair_bce', mix)
    check_number('pair_bce: temperature', temperature, 0.0, above=True)
    if y.dim() != 1 or mix.source.shape[1] != 2:
        got = 'class probabilities' if y.dim() != 1 else f'{mix.source.shape[1]} sources of an image'
        raise InputError(f'pair_bce is defined for pairs with one class each, got {got}')
    own, other = y[mix.source].unbind(1)
    scaled = at_least_float32(logits) / temperature
    gap = (scaled.gather(1, own[:, None]) - scaled.gather(1, other[:, None]))[:, 0]
    of_own, of_other = mix.weight.to(gap.dtype).unbind(1)
    nll = -of_own * F.logsigmoid(gap) - of_other * F.logsigmoid(-gap)
    return mean_of_rows('pair_bce', torch.where(own == other, torch.zeros_like(nll), nll), rows)
