"""`Batch`: the dict that a loader returns and an algorithm trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A plain batch has
#   inputs: (N, 3, H, W); (N, V, 3, H, W) with V views of each image; a list of V tensors (N, 3, H_v, W_v) if the
#       views differ in size,
#   labels: (N,) int64, absent if the images have none,
#   ids: (N,) int64, the indices of the samples in their data set.
# A batch of several pools has one plain batch per pool, such as {'labelled': {...}, 'unlabelled': {...}}. The known
# labels of unlabelled images are called `true_labels`, so that no loss uses them as `labels` by mistake.
Batch = dict[str, Any]

# The names of the two pools of semi-supervised learning.
LABELLED, UNLABELLED = 'labelled', 'unlabelled'


def pools_of(batch: Any) -> dict[str, Any]:
    """Return the plain batches of a batch by the name of their pool; the name is '' for a batch without pools.

    Args:
        batch: a `Batch`; anything else counts as a plain batch, so that its check reports it.
    """
    pooled = isinstance(batch, Mapping) and batch and all(isinstance(one, Mapping) for one in batch.values())
    return dict(batch) if pooled else {'': batch}
