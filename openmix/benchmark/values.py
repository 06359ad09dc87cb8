"""The values that a table may hold: printable text, names that make folders, overrides that are plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from openmix.benchmark.escape import acts
from openmix.benchmark.limits import MOST_CHARACTERS, MOST_TEXT
from openmix.errors import InputError, brief
from openmix.options import sets

_MOST_DEPTH = 50
_MOST_VALUES = 100_000  # of one row, column or cell, aliases counted as often as they stand
# What is each run's own in a table.
_OF_RUNS = {
    'work_dir': "a run's folder is below that of the table: give --work-dir",
    'launcher': 'the processes of a run are counted by --gpus-per-run',
    'resume': 'what was interrupted is resumed as it is',
    'weights': 'say `from` of the row, column or cell',
    'randomness.seed': 'the seeds of its trials are its own: list them under `seeds` of the table',
}
# What a recipe would load or run; a table may only change settings.
_OF_PROGRAMS = ('custom_imports', '_base_', '_scope_')


def check_text(where: str, value: Any) -> str:
    """A text as it stands, or an error: it shows every character, and is not endless."""
    if not isinstance(value, str):
        raise InputError(f'{where} must be text, got {brief(value)}')
    if len(value) > MOST_TEXT:
        raise InputError(f'{where} has {len(value)} characters; at most {MOST_TEXT} are allowed')
    found = next((character for character in value if character not in '\n\t' and acts(character)), None)
    if found is not None:
        raise InputError(f'{where} holds the control character {found!a}')
    return value


def check_name(where: str, value: Any) -> str:
    """The name of a row or a column as it stands, or an error: text on one line."""
    check_text(where, value)
    if not value.strip() or '\n' in value or '\t' in value or len(value) > MOST_CHARACTERS:
        raise InputError(f'{where} must be a line of 1 to {MOST_CHARACTERS} characters, got {brief(value)}')
    return value


def check_data(where: str, value: Any) -> None:
    """Raise an `InputError` unless a value of an override is data: a table says settings, it runs nothing.

    A `type` is the name of something registered: a dotted path would import whatever it names.
    """
    _check_data(where, value, 0, [0])


def _check_data(where: str, value: Any, depth: int, count: list[int]) -> None:
    count[0] += 1
    if depth > _MOST_DEPTH or count[0] > _MOST_VALUES:
        raise InputError(f'{where}: nested too deep or too large; aliases count as often as they are used')
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_key(where, key)
            if key.rpartition('.')[2] == 'type' and isinstance(inner, str):
                check_type(where, inner)
            _check_data(where, inner, depth + 1, count)
    elif isinstance(value, list):
        for inner in value:
            _check_data(where, inner, depth + 1, count)
    elif isinstance(value, str):
        check_text(where, value)
    elif isinstance(value, float) and math.isnan(value):
        raise InputError(f'{where}: nan is not a value')
    elif not isinstance(value, (int, float, type(None))):
        raise InputError(f'{where}: {type(value).__name__} is not a value, got {brief(value)}')


def check_settings(where: str, found: Mapping[str, Any]) -> None:
    """Raise an `InputError` where overrides of a recipe set what a table says of each run itself: it would be lost."""
    check_data(where, found)
    for place, told in _OF_RUNS.items():
        if sets(found, place):
            raise InputError(f'{where}: {place} is not read, {told}')


def check_type(where: str, value: str) -> None:
    """Raise an `InputError` where a `type` is not the name of something registered but a path to code."""
    if re.search(r'[.:]', value):
        raise InputError(
            f'{where}: type {brief(value)} is a path to code; a table takes registered names only, '
            'register it in a Python recipe'
        )


def check_key(where: str, key: Any) -> None:
    """Raise an `InputError` unless a key, dotted or not, is a text of plain characters that no program reads."""
    if not isinstance(key, str):
        raise InputError(f'{where}: the key {brief(key)} is not text; quote it')
    if not key or len(key) > MOST_CHARACTERS or not key.isprintable() or re.search(r'["\'\\{}=#]', key):
        raise InputError(f'{where}: the key {brief(key)} is not a name')
    for part in key.split('.'):
        if part in _OF_PROGRAMS:
            raise InputError(f"{where}: '{part}' loads code; a table is data, set it in a Python recipe")
