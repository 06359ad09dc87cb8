"""MBCE: one-vs-all binary cross-entropy of mixed samples, summed over classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from openmix.errors import check_choice, check_number
from openmix.losses.labels import at_least_float32, check_batch, label_shares, mean_of_rows
from openmix.mix import Mix
from openmix.registry import LOSSES


def bce_to_targets(logits: Tensor, target: Tensor, smoothing: float = 0.0, rows: Tensor | None = None) -> Tensor:
    """Compute binary cross-entropy against (N, C) targets in [0, 1], summed over classes, averaged over the batch.

    *Differs from timm*, which averages over the classes as well.
    """
    target = target * (1 - smoothing) + smoothing / target.shape[1]
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction='none').sum(1)
    return mean_of_rows('binary cross-entropy', bce, rows)


@LOSSES.register_module()
def mix_bce(
    logits: Tensor, y: Tensor, mix: Mix, labels: str = 'one', smoothing: float = 0.0, rows: Tensor | None = None
) -> Tensor:
    """Compute MBCE with share-weighted (`labels='one'`) or two-hot (`labels='two'`) targets (Decoupled Mixup, 3.3).

    Args:
        logits: (N, C) of the mixed batch; any float type, computed in at least float32.
        y: (M,) int64 labels of the clean batch, or (M, C) class probabilities.
        mix: how the batch was mixed.
        labels: 'one': the target of a class is its share, at most 1; 'two': the target is 1 for every class in the mix.
        smoothing: label smoothing in [0, 1), spread over all C classes.
        rows: weights of the samples, see `mean_of_rows`.

    Returns:
        scalar, summed over classes and averaged over the batch.

    Raises:
        InputError: `labels` is neither 'one' nor 'two', or smoothing is out of range.
    """
    check_batch('mix_bce', logits, y, mix)
    check_choice('mix_bce: labels', labels, ('one', 'two'))
    check_number('mix_bce: smoothing', smoothing, 0.0, 1.0, below=True)
    logits = at_least_float32(logits)
    share = label_shares(logits, y, mix)
    target = share.clamp(max=1) if labels == 'one' else (share > 0).to(share.dtype)
    return bce_to_targets(logits, target, smoothing, rows)
