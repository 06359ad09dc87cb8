"""Variants of a table: the 'published' variant gives every policy the options of the published runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from openmix.declared import value_of
from openmix.errors import InputError, brief
from openmix.registry import MIXUPS, find

# Each variant with one sentence that says how it affects the numbers.
VARIANTS = {
    'published': 'policies have the options of the printed runs, such as one lambda a batch, where they know them',
    'corrected': 'policies are as their papers say or mean, nothing is taken over from printed runs',
}


def add_published(cfg: Config) -> Config:
    """Add to each policy of a resolved recipe, in place, the options that its class declares as `published`.

    Options in the recipe take precedence.

    Raises:
        InputError: a policy's type is unknown.
    """
    for policy in _policies(cfg.get('model')):
        for name, value in published_options(policy['type']).items():
            policy.setdefault(name, value)
    return cfg


def published_options(kind: Any) -> Mapping[str, Any]:
    """Return the options of the published runs that a policy's class declares.

    Raises:
        InputError: there is no such policy, or it declares something else than a dict.
    """
    try:
        return value_of('mixups', kind, 'published', {})
    except (KeyError, TypeError):  # a policy outside OpenMix
        found = getattr(find(MIXUPS, kind), 'published', {})
    if not isinstance(found, Mapping):
        raise InputError(f'{kind}.published must be a dict of options, got {brief(found)}')
    return found


def without_published(cfg: Config) -> list[str]:
    """List the types of a resolved recipe's policies from outside OpenMix that declare no `published` options."""
    found = []
    for policy in _policies(cfg.get('model')):
        try:
            value_of('mixups', policy['type'], 'published')
        except (KeyError, TypeError):
            if not published_options(policy['type']):
                found.append(str(policy['type']))
    return found


def _policies(node: Any) -> Iterator[Any]:
    """Yield every dict with a `type` below `node` under a key `policy` or `policies`."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ('policy', 'policies'):
                for each in value if isinstance(value, (list, tuple)) else [value]:
                    if isinstance(each, Mapping) and 'type' in each:
                        yield each
            yield from _policies(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _policies(value)
