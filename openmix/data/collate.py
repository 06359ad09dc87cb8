"""Collate functions for data sets that answer whole batches."""

from __future__ import annotations

from typing import Any

import mmengine.registry as mm
from torch.utils.data import default_collate

from openmix.registry import FUNCTIONS


# The runner looks a collate function up in mmengine's root registry only.
@mm.FUNCTIONS.register_module()
@FUNCTIONS.register_module()
def identity_collate(batch: Any) -> Any:
    """The batch as the data set answered it; single samples (from wrapped data sets) are stacked."""
    return default_collate(batch) if isinstance(batch, list) else batch
