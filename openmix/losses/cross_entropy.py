"""MCE: cross-entropy of mixed samples against their mixed labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from openmix.errors import check_number
from openmix.losses.labels import at_least_float32, check_batch, label_shares, mean_of_rows
from openmix.mix import Mix
from openmix.registry import LOSSES


@LOSSES.register_module()
def mix_ce(logits: Tensor, y: Tensor, mix: Mix, smoothing: float = 0.0, rows: Tensor | None = None) -> Tensor:
    """Compute MCE, -sum_k weight_k log p(y_k), averaged over the batch (Decoupled Mixup, Eq. 1).

    Where images of earlier batches are in the mix, -sum_c earlier_c log p(c) is added.

    Args:
        logits: (N, C) of the mixed batch; any float type, computed in at least float32.
        y: (M,) int64 labels of the clean batch, or (M, C) class probabilities.
        mix: how the batch was mixed; K = 1 is plain cross-entropy.
        smoothing: label smoothing in [0, 1), spread over all C classes.
        rows: weights of the samples, see `mean_of_rows`.

    Returns:
        scalar.

    Raises:
        InputError: smoothing is out of range, or `rows` do not fit.
    """
    check_batch('mix_ce', logits, y, mix)
    check_number('mix_ce: smoothing', smoothing, 0.0, 1.0, below=True)
    log_p = F.log_softmax(at_least_float32(logits), dim=1)
    if y.dim() == 2:
        nll = -(label_shares(log_p, y, mix) * log_p).sum(1)
    else:
        nll = -(mix.weight.to(log_p.dtype) * log_p.gather(1, y[mix.source])).sum(1)
        if mix.earlier is not None:
            nll = nll - (mix.earlier.to(log_p.dtype) * log_p).sum(1)
    if smoothing:
        nll = (1 - smoothing) * nll - smoothing * log_p.mean(1)
    return mean_of_rows('mix_ce', nll, rows)
