"""Find the parts of a recipe: every dict that a registry builds, at any depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.registry import Registry

from openmix.check import builders_of
from openmix.errors import InputError
from openmix.recipe_schema import LOADER_PARTS, LOADERS, SLOTS
from openmix.registry import HOOKS, find
from openmix.signatures import arguments, named


class Part(NamedTuple):
    """A dict with a `type` in a recipe.

    Attributes:
        place: dotted key of the dict.
        registry: the registry that builds it.
        built: the class or function that `type` names.
        node: the dict.
    """

    place: str
    registry: Registry
    built: Any
    node: Mapping[str, Any]


def parts(recipe: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the parts of a resolved recipe, outer parts before inner ones.

    Raises:
        InputError: a type is unknown; the line names its place.
    """
    for key, value in recipe.items():
        if key == 'default_hooks':
            yield from _below(key, HOOKS, value)
        elif key in SLOTS:
            yield from _below(key, SLOTS[key], value)
        elif key in LOADERS and isinstance(value, Mapping):
            for inner, registry in LOADER_PARTS.items():
                yield from _below(f'{key}.{inner}', registry, value.get(inner))


def _below(place: str, registry: Registry, node: Any, default: str = '') -> Iterator[Part]:
    if isinstance(node, Mapping) and default:
        node = {'type': default, **node}
    if isinstance(node, Mapping) and 'type' in node:
        try:
            built = find(registry, node['type'])
        except InputError as error:
            raise InputError(f'{place}: {error}') from error
        yield Part(place, registry, built, node)
        for key, inner in builders_of(built, {**named(built), **(arguments(built) or {})}).items():
            yield from _below(f'{place}.{key}', inner.registry, node.get(key), inner.default)
    elif isinstance(node, (Mapping, list, tuple)):
        items: list[tuple[Any, Any]] = list(node.items() if isinstance(node, Mapping) else enumerate(node))
        for name, value in items:
            yield from _below(f'{place}.{name}', registry, value)
