"""The Jensen-Shannon consistency loss over several views (Hendrycks et al., AugMix, ICLR 2020)."""

from __future__ import annotations

import math

from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.losses.cross_entropy import mix_ce
from openmix.losses.labels import at_least_float32, check_batch
from openmix.mix import Mix
from openmix.registry import LOSSES


def jensen_shannon_divergence(logits: Tensor) -> Tensor:
    """Compute the (N,) Jensen-Shannon divergence between V predictions, given (N, V, C) logits, in [0, log V].

    It is the mean Kullback-Leibler divergence of the V distributions from their mean. It is computed with
    logarithms of probabilities, so a probability of zero needs no clamp.
    """
    log_p = logits.log_softmax(2)
    log_mean = log_p.logsumexp(1, keepdim=True) - math.log(logits.shape[1])
    return (log_p.exp() * (log_p - log_mean)).sum(2).mean(1)


@LOSSES.register_module()
def jensen_shannon(logits: Tensor, y: Tensor, mix: Mix, weight: float = 12.0, smoothing: float = 0.0) -> Tensor:
    """Compute the MCE of each sample's first view plus `weight` times the Jensen-Shannon divergence of its views.

    The V views of a sample are consecutive rows; V is the number of rows divided by the number of labels.
    With one view the loss is the MCE.

    Args:
        logits: (N V, C) of the views of N samples; any float type, computed in at least float32.
        y: (N,) int64 labels, or (N, C) class probabilities; (M,) or (M, C) with M >= N if V = 1.
        mix: how the batch was mixed; only the row of each sample's first view is read.
        weight: weight of the divergence; 12 in the paper.
        smoothing: label smoothing of the MCE.

    Returns:
        scalar, averaged over the samples.

    Raises:
        InputError: a number is out of range, or the number of rows is not a multiple of the number of labels.
    """
    check_batch('jensen_shannon', logits, y, mix)
    check_number('jensen_shannon: weight', weight, 0.0)
    views = max(1, len(logits) // len(y))
    if views > 1 and len(logits) != views * len(y):
        raise InputError(f'jensen_shannon: {len(logits)} rows are not as many views for each of {len(y)} labels')
    earlier = None if mix.earlier is None else mix.earlier[::views]
    first = Mix(mix.source[::views], mix.weight[::views], earlier=earlier)
    mce = mix_ce(logits[::views], y, first, smoothing)
    return mce + weight * jensen_shannon_divergence(at_least_float32(logits).unflatten(0, (-1, views))).mean()
