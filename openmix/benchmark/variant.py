"""The options of the published runs, given to every policy of a recipe that does not state its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from openmix.registry import MIXUPS, find

VARIANTS = ('published', 'corrected')


def add_published(cfg: Config) -> Config:
    """Add to each policy of a resolved recipe, in place, what its class declares as `published`.

    What the recipe states itself stays.

    Raises:
        InputError: a policy's type is unknown.
    """
    for policy in _policies(cfg.get('model') or {}):
        for name, value in find(MIXUPS, policy['type']).published.items():
            policy.setdefault(name, value)
    return cfg


def _policies(node: Any) -> Iterator[Any]:
    """Every typed dict below `node` that stands where a policy or a list of policies does."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ('policy', 'policies'):
                yield from (each for each in (value if isinstance(value, (list, tuple)) else [value]) if 'type' in each)
            yield from _policies(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _policies(value)
