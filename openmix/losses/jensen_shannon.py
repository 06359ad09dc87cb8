"""The Jensen-Shannon consistency of several views (Hendrycks et al., AugMix, ICLR 2020)."""

from __future__ import annotations

import math

from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.losses.cross_entropy import mix_ce
from openmix.losses.labels import at_least_float32, check_batch
from openmix.mix import Mix
from openmix.registry import LOSSES


def jensen_shannon_divergence(logits: Tensor) -> Tensor:
    """(N,) Jensen-Shannon divergence of the V distributions that (N, V, C) logits mean, in [0, log V].

    The mean of their Kullback-Leibler divergences from their mean, all in logarithms: where the
    mean vanishes nothing has to be clamped.
    """
    log_p = logits.log_softmax(2)
    log_mean = log_p.logsumexp(1, keepdim=True) - math.log(logits.shape[1])
    return (log_p.exp() * (log_p - log_mean)).sum(2).mean(1)


@LOSSES.register_module()
def jensen_shannon(logits: Tensor, y: Tensor, mix: Mix, weight: float = 12.0, smoothing: float = 0.0) -> Tensor:
    """MCE of each sample's first view, plus `weight` times the Jensen-Shannon divergence of its views.

    The views come one after the other, as the policy that lays them side by side leaves them; how
    many there are is told by the lengths. A batch of one view has nothing to compare: it is MCE.

    Args:
        logits: (N V, C) of the views of N samples; any float type, computed in at least float32.
        y: (N,) int64 labels, or (N, C) class probabilities; longer where V = 1 and a pool was mixed.
        mix: how the batch was mixed; of a sample's rows the first counts.
        weight: of the divergence; the paper's 12.
        smoothing: label smoothing of the MCE.

    Returns:
        scalar, averaged over the samples.

    Raises:
        InputError: a number is out of range, or the rows are not as many for every sample.
    """
    check_batch('jensen_shannon', logits, y, mix)
    check_number('jensen_shannon: weight', weight, 0.0)
    views = max(1, len(logits) // len(y))
    if views > 1 and len(logits) != views * len(y):
        raise InputError(f'jensen_shannon: {len(logits)} rows are not as many views for each of {len(y)} labels')
    first = Mix(mix.source[::views], mix.weight[::views])
    mce = mix_ce(logits[::views], y, first, smoothing)
    return mce + weight * jensen_shannon_divergence(at_least_float32(logits).unflatten(0, (-1, views))).mean()
