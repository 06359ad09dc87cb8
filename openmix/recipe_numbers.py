"""Check the numbers and switches of a recipe that mmengine and torch do not check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openmix.errors import InputError, brief, check_number
from openmix.recipe_schema import BOUNDS, OPTIONAL, POSITIVE, RATES, SWITCHES

# The dotted key of a wrong value, and the error message.
Fault = tuple[str, str]


def rates(path: str, slot: str, node: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield faults of the factors in a dict: out of bounds, or not above zero although they must be.

    Args:
        path: dotted key of the dict in the recipe.
        slot: last part of that key, which selects the bounds.
        node: the dict.
    """
    for key, (low, high) in RATES.get(slot, {}).items():
        given = node.get(key)
        for value in given if isinstance(given, (list, tuple)) else [] if given is None else [given]:
            try:
                check_number(f'{path}: {key}', value, low, high)
            except InputError as error:
                yield f'{path}.{key}', str(error)
    for key in POSITIVE.get(slot, ()):
        if key not in node:
            continue
        try:
            above = float(node[key]) > 0 and not isinstance(node[key], bool)
        except (TypeError, ValueError):
            continue  # torch checks other values when the preflight of the recipe builds it
        if not above:
            yield f'{path}.{key}', f'{path}: {key} must be > 0, got {brief(node[key])}'


def numbers(path: str, slot: str, node: Mapping[str, Any], types: dict[str, Any]) -> Iterator[Fault]:
    """Yield faults of the numbers and switches in a dict, see `rates`; add their types to `types` by dotted key."""
    for key, (low, high) in BOUNDS.get(slot, {}).items():
        types[f'{path}.{key}'] = int | None
        if key in node and not (node[key] is None and key in OPTIONAL):
            try:
                check_number(f'{path}: {key}', node[key], low, high)
            except InputError as error:
                yield f'{path}.{key}', str(error)
    yield from rates(path, slot, node)
    for key in SWITCHES.get(slot, ()):
        types[f'{path}.{key}'] = bool
        if key in node and not isinstance(node[key], bool):
            yield f'{path}.{key}', f'{path}: {key} must be True or False, got {brief(node[key])}'
