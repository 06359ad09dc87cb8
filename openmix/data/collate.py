"""Collate functions for data sets that answer whole batches."""

from __future__ import annotations

from typing import Any

import mmengine.registry as mm
from torch.utils.data import default_collate

from openmix.errors import InputError
from openmix.registry import FUNCTIONS


# The runner looks a collate function up in mmengine's root registry only.
@mm.FUNCTIONS.register_module()
@FUNCTIONS.register_module()
def identity_collate(batch: Any) -> Any:
    """The batch as the data set answered it; single samples (from data sets that answer no batches) are stacked.

    Raises:
        InputError: they cannot be stacked.
    """
    if not isinstance(batch, list):
        return batch
    try:
        return default_collate(batch)
    except (TypeError, RuntimeError, ValueError, KeyError) as error:
        line = ' '.join(str(error).split())[:200]
        raise InputError(f'the samples of a batch cannot be stacked: {line}; see docs/data.md') from error
