"""Convert the texts of `--cfg-options` to the types that parameters are annotated with."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config

from openmix.check import declared_types, is_read
from openmix.config_hash import flatten
from openmix.errors import InputError, close_to_any
from openmix.options import OptionText, read_list, read_plain
from openmix.signatures import fits

_UNKNOWN = (None, Any)


def settle(cfg: Config, keys: Iterable[str]) -> Config:
    """Replace the texts of options in a recipe by values, in place; return the recipe.

    Args:
        cfg: the recipe with the options merged.
        keys: dotted keys of the options.

    Raises:
        InputError: a value cannot be read, or nothing reads the key.
    """
    keys = list(keys)
    for key in keys:
        if not is_read(key.partition('.')[0]):
            places = [place for place, _ in flatten(cfg._cfg_dict.to_dict()) if is_read(place.partition('.')[0])]
            first = key.partition('.')[0]
            raise InputError(f"option '{key}' sets '{first}', which nothing reads; {close_to_any(key, places)}")
    # Types first: the `type` of a part determines its other parameters.
    named = [key for key in keys if key.rpartition('.')[2] == 'type']
    _replace(cfg, dict.fromkeys(named, str))
    types = declared_types(cfg)
    _replace(cfg, {key: _type_at(types, key) for key in keys if key not in named})
    return cfg


def _replace(cfg: Config, hints: Mapping[str, Any]) -> None:
    for key, hint in hints.items():
        holder, leaf = _holder(cfg, key)
        if isinstance(holder[leaf], OptionText):
            try:
                holder[leaf] = read_typed(str(holder[leaf]), hint)
            except InputError as error:
                raise InputError(f"option '{key}': {error}") from error


def _holder(cfg: Config, key: str) -> tuple[Any, Any]:
    node: Any = cfg._cfg_dict
    *inner, leaf = key.split('.')
    for part in inner:
        node = _inside(node, part, key)
    _inside(node, leaf, key)
    return node, int(leaf) if isinstance(node, list) else leaf


def _inside(node: Any, part: str, key: str) -> Any:
    """Return the value under one part of an option's key.

    Raises:
        InputError: another option has replaced its container.
    """
    try:
        if isinstance(node, list):
            return node[int(part)]
        if isinstance(node, Mapping):
            return node[part]
    except (KeyError, IndexError, ValueError):
        pass
    raise InputError(f"option '{key}' is lost, as another option replaces what it is part of; give one of them")


def _type_at(types: dict[str, Any], key: str) -> Any:
    """Return the annotation of a dotted key; for an item of a list, that of the items; None if there is none."""
    if key in types:
        return types[key]
    above, _, leaf = key.rpartition('.')
    hint = types.get(above) if leaf.isdigit() else None
    found = [arg for one in (hint, *typing.get_args(hint)) for arg in typing.get_args(one) if fits([], one)]
    return found[0] if found else None


def read_typed(text: str, hint: Any) -> Any:
    """Convert the text of an option to the type that its parameter is annotated with.

    Args:
        text: the text on the command line.
        hint: annotation of the parameter; None: no annotation.

    Raises:
        InputError: the text cannot be read.
    """
    wants_text = hint not in _UNKNOWN and fits('', hint)
    try:
        value = read_plain(text)
    except InputError:
        if not wants_text or text.strip()[:1] in ('"', "'"):
            raise
        return text
    if hint in _UNKNOWN or (not isinstance(value, str) and fits(value, hint)):
        return value
    if wants_text:
        return value if text.strip()[0] in '\'"' else text
    if ',' in text and isinstance(value, str) and fits(listed := read_list(text), hint):
        return listed
    if isinstance(value, str) and fits(0.5, hint):
        try:
            return float(value)
        except ValueError:
            return value
    return value
