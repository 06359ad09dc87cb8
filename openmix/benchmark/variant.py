"""The options of the published runs, given to every policy of a recipe that does not state its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from openmix.declared import value_of
from openmix.errors import InputError, brief
from openmix.registry import MIXUPS, find

# Each with what it means for the numbers, in one sentence.
VARIANTS = {
    'published': 'policies have the options of the printed runs, such as one lambda a batch, where they know them',
    'corrected': 'policies are as their papers say or mean, nothing is taken over from printed runs',
}


def add_published(cfg: Config) -> Config:
    """Add to each policy of a resolved recipe, in place, what its class declares as `published`.

    What the recipe states itself stays.

    Raises:
        InputError: a policy's type is unknown.
    """
    for policy in _policies(cfg.get('model')):
        for name, value in published_options(policy['type']).items():
            policy.setdefault(name, value)
    return cfg


def published_options(kind: Any) -> Mapping[str, Any]:
    """The options of the published runs that a policy's class declares.

    Raises:
        InputError: there is no such policy.
    """
    try:
        return value_of('mixups', kind, 'published', {})
    except (KeyError, TypeError):  # of one's own
        found = getattr(find(MIXUPS, kind), 'published', {})
    if not isinstance(found, Mapping):
        raise InputError(f'{kind}.published must be a dict of options, got {brief(found)}')
    return found


def without_published(cfg: Config) -> list[str]:
    """The types of one's own policies in a resolved recipe that declare no options of published runs."""
    found = []
    for policy in _policies(cfg.get('model')):
        try:
            value_of('mixups', policy['type'], 'published')
        except (KeyError, TypeError):
            if not published_options(policy['type']):
                found.append(str(policy['type']))
    return found


def _policies(node: Any) -> Iterator[Any]:
    """Every typed dict below `node` that stands where a policy or a list of policies does."""
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
