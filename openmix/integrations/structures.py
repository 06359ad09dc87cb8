"""What a batch is made of: samples that become one, its entries, and results in the class of the batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.utils.data import default_collate

from openmix.errors import InputError


@runtime_checkable
class _Named(Protocol):
    """A named tuple."""

    _fields: tuple[str, ...]

    def _make(self, iterable: Any, /) -> Any: ...


def are_samples(batch: Any) -> bool:
    """Return true for a list of samples, as a loader gives it to its `collate_fn`."""
    if not isinstance(batch, list) or not batch:
        return False
    return isinstance(batch[0], (tuple, list, Mapping)) or (
        all(isinstance(one, Tensor) and one.dim() == 3 for one in batch)
    )


def collated(samples: list[Any]) -> Any:
    """Make a batch of samples, as `default_collate` does, in which dicts of boxes are listed.

    Raises:
        InputError: a sample has other entries than the first.
    """
    first = samples[0]
    if not isinstance(first, (tuple, list, Mapping)):
        return default_collate(samples)
    given = [entries_of(one) for one in samples]
    for one in given:
        if one.keys() != given[0].keys():
            raise InputError(
                f'MixTransform: samples of one batch have the same entries, got {_named(given[0])} and {_named(one)}'
            )
    found = {key: _together([one[key] for one in given]) for key in given[0]}
    # A loader makes a list of plain tuples.
    return list(found.values()) if type(first) is tuple else like(first, found)


def entries_of(batch: Any) -> dict[Any, Any]:
    """Return the entries of a batch or sample: those of a dict, or by their place in a tuple or list."""
    if isinstance(batch, Mapping):
        return dict(batch)
    return dict(enumerate(batch if isinstance(batch, (tuple, list)) else [batch]))


def like(batch: Any, entries: Mapping[Any, Any]) -> Any:
    """Return entries in the class of a batch; a plain dict or tuple where the class cannot hold them."""
    if isinstance(batch, MutableMapping):
        found = copy.copy(batch)
        found.update(entries)
        return found
    if isinstance(batch, Mapping):
        return dict(entries)
    if isinstance(batch, tuple) and isinstance(batch, _Named) and len(batch) == len(entries):
        return batch._make(entries.values())
    return tuple(entries.values()) if isinstance(batch, tuple) else list(entries.values())


def has_boxes(value: Any) -> bool:
    """Return true for a dict with `boxes`, as of one image of a detector."""
    return isinstance(value, Mapping) and 'boxes' in value


def _together(values: Sequence[Any]) -> Any:
    return list(values) if any(map(has_boxes, values)) else default_collate(list(values))


def _named(entries: Mapping[Any, Any]) -> str:
    return f'{len(entries)} ({", ".join(map(str, entries))})'
