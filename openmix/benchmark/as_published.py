"""`published` in a row, column or cell: settings that only its printed run had; keys have the prefix `published.`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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


def settings_of(overrides: Mapping[str, Any]) -> tuple[Overrides, Overrides]:
    """Divide a stage's own overrides into those of every variant and those of its printed run alone."""
    printed = {key.removeprefix(PREFIX): value for key, value in overrides.items() if key.startswith(PREFIX)}
    return {key: value for key, value in overrides.items() if not key.startswith(PREFIX)}, printed
