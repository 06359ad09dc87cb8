"""`published` in a row, column or cell: settings that only its printed run had; keys have the prefix `published.`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openmix.benchmark.earlier import below, beside
from openmix.benchmark.values import check_settings
from openmix.errors import InputError, brief
from openmix.recipe_published import PUBLISHED

PREFIX = f'{PUBLISHED}.'
_KEY = re.compile(rf'((?:from\.)*{PUBLISHED})(?:\.(.+))?')

Overrides = dict[str, Any]


def dotted_published(where: str, overrides: Mapping[str, Any]) -> Overrides:
    """Flatten each mapping `published` in overrides, also of an earlier stage, to dotted keys.

    Raises:
        InputError: it is not a mapping, sets a word of the table or something that a table may not set, or gives a
            key twice.
    """
    found: Overrides = {}
    for key, value in overrides.items():
        match = _KEY.fullmatch(key)
        if match is not None and match[2] is None and not isinstance(value, Mapping):
            raise InputError(f'{where}: {key} must be a mapping of dotted keys, got {brief(value)}')
        given = {key: value} if match is None or match[2] else {f'{key}.{name}': one for name, one in value.items()}
        for name, one in given.items():
            if name in found:
                raise InputError(f"{where}: '{name}' is given twice")
            if match is not None:
                setting = name.removeprefix(f'{match[1]}.')
                if '.' not in setting or setting.startswith(('from.', PREFIX)):
                    raise InputError(
                        f"{where}: {match[1]} holds settings of the recipe, such as model.policy.alpha, got '{setting}'"
                    )
                check_settings(f'{where}, {match[1]}', {setting: one})
            found[name] = one
    return found


def printed_place(key: str) -> str:
    """Return the key of the printed run alone that sets the same as a key of every variant, at the same stage."""
    setting = key
    while setting.startswith('from.'):
        setting = setting.removeprefix('from.')
    return key if setting.startswith(PREFIX) else f'{key.removesuffix(setting)}{PREFIX}{setting}'


def without_printed(overrides: Mapping[str, Any], variant: str) -> Overrides:
    """Return overrides without the settings of printed runs that a cell in this variant, or its stage, does not have.

    Args:
        overrides: dotted overrides of a cell and its earlier stages.
        variant: the variant of the cell; a stage may have its own.
    """
    before = below(overrides)
    said = without_printed(before, before.get('variant', variant)) if before else {}
    own = beside(overrides) if variant == 'published' else settings_of(beside(overrides))[0]
    return own | {f'from.{key}': value for key, value in said.items()}


def settings_of(overrides: Mapping[str, Any]) -> tuple[Overrides, Overrides]:
    """Divide a stage's own overrides into those of every variant and those of its printed run alone."""
    printed = {key.removeprefix(PREFIX): value for key, value in overrides.items() if key.startswith(PREFIX)}
    return {key: value for key, value in overrides.items() if not key.startswith(PREFIX)}, printed
