"""Variants of a table: the 'published' variant gives every part the options of the published runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry

from openmix.config import load_config
from openmix.declared import value_of
from openmix.errors import InputError, brief
from openmix.registry import LOSSES, MIXUPS, MODELS, find

# Each variant with one sentence that says how it affects the numbers.
VARIANTS = {
    'published': 'recipes and parts have the settings and options of the printed runs, such as one lambda a batch, '
    'where they know them',
    'corrected': 'recipes and parts are as their papers say or mean, nothing is taken over from printed runs',
}
# The keys whose dicts are built by a registry, and the folder of openmix that holds its parts.
_POLICIES, _LOSSES, _MODELS = (MIXUPS, 'mixups'), (LOSSES, 'losses'), (MODELS, 'models')
_SLOTS = {
    **dict.fromkeys(('policy', 'policies'), _POLICIES),
    **dict.fromkeys(('loss', 'losses', 'mixer_losses'), _LOSSES),
    **dict.fromkeys(('model', 'backbone', 'head', 'heads'), _MODELS),
}
# A trained network, whose weights decide its form.
_TRAINED = 'teacher'


class _Place(NamedTuple):
    """A part of a recipe: the container and the key of its dict or name, and what builds it."""

    holder: Any
    key: Any
    kind: str
    registry: Registry
    folder: str


def add_published(cfg: Config) -> Config:
    """Add to each part of a resolved recipe's model, in place, the options that it declares as `published`.

    Parts are policies, losses, backbones, heads and the model itself, however deep they lie, except in a teacher, which
    is already trained. Options in the recipe take precedence. A part that is given by its name alone becomes a dict.

    Raises:
        InputError: a part's type is unknown.
    """
    for place in _parts({'model': cfg.get('model')}):
        if options := _options(place.kind, place.registry, place.folder):
            if isinstance(place.holder[place.key], str):
                place.holder[place.key] = {'type': place.kind}
            for name, value in options.items():
                place.holder[place.key].setdefault(name, value)
    return cfg


def load_variant(path: str | Path, options: Mapping[str, Any] | None, variant: str | None) -> Config:
    """Load a recipe in a variant, by default 'corrected': published settings, then options, then those of parts.

    Raises:
        InputError: see `load_config` and `add_published`.
    """
    if variant != 'published':
        return load_config(path, options)
    return add_published(load_config(path, options, published=True))


def _options(kind: str, registry: Registry, folder: str) -> Mapping[str, Any]:
    """Return the options of the published runs that a part declares.

    Raises:
        InputError: there is no such part, or it declares something else than a dict.
    """
    try:
        return value_of(folder, kind, 'published', {})
    except KeyError:  # a part outside openmix
        found = getattr(find(registry, kind), 'published', {})
    if not isinstance(found, Mapping):
        raise InputError(f'{kind}.published must be a dict of options, got {brief(found)}')
    return found


def without_published(cfg: Config) -> list[str]:
    """List the types of a resolved recipe's policies from outside openmix that declare no `published` options."""
    found = []
    for place in _parts({'model': cfg.get('model')}):
        if place.registry is MIXUPS:
            try:
                value_of(place.folder, place.kind, 'published')
            except KeyError:
                if not _options(place.kind, place.registry, place.folder):
                    found.append(place.kind)
    return found


def _parts(node: Any) -> Iterator[_Place]:
    """Yield every part below `node`, outer ones first; of names alone those of losses, as `heads` may be an option."""
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        if key == _TRAINED:
            continue
        if key in _SLOTS:
            for holder, place in _held(node, key):
                part = holder[place]
                kind = part.get('type') if isinstance(part, Mapping) else part if _SLOTS[key] is _LOSSES else None
                if isinstance(kind, str):
                    yield _Place(holder, place, kind, *_SLOTS[key])
        if isinstance(value, (Mapping, list, tuple)):
            yield from _parts(value)


def _held(node: Any, key: Any) -> list[tuple[Any, Any]]:
    """List the containers and keys of the parts under a key: of the one part, or of those in a list or dict."""
    value = node[key]
    if isinstance(value, tuple):  # a name in it becomes a dict
        node[key] = list(value)
        value = node[key]  # a config stores a copy
    if isinstance(value, list):
        return [(value, i) for i in range(len(value))]
    if isinstance(value, Mapping) and 'type' not in value:
        return [(value, name) for name in value]
    return [(node, key)]
