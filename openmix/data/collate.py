"""Collate functions for data sets that return whole batches."""

from __future__ import annotations

from typing import Any

from torch.utils.data import default_collate

from openmix.errors import InputError
from openmix.registry import FUNCTIONS


@FUNCTIONS.register_module()
def identity_collate(batch: Any) -> Any:
    """Return the data set's batch unchanged; stack single samples of a data set that does not return batches.

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
