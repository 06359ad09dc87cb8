"""`Batch`: what a loader answers and an algorithm learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A plain batch has
#   inputs: (N, 3, H, W); (N, V, 3, H, W) with V views of each image; a list of V tensors (N, 3, H_v, W_v) where the
#       views differ in size,
#   labels: (N,) int64, absent where the images have none,
#   ids: (N,) int64, the places of the samples in their data set.
# A batch of several pools has a plain one a pool, such as {'labelled': {...}, 'unlabelled': {...}}. What is known of
# images that count as unlabelled is called `true_labels`, so that no loss finds it under `labels`.
Batch = dict[str, Any]


def pools_of(batch: Any) -> dict[str, Any]:
    """Return the plain batches of a batch by the name of their pool; '' names a batch without pools.

    Args:
        batch: a `Batch`, or what a loader answered by mistake, which counts as a plain one.
    """
    pooled = isinstance(batch, Mapping) and batch and all(isinstance(one, Mapping) for one in batch.values())
    return dict(batch) if pooled else {'': batch}
