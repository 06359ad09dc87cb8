"""Check the values in a table's file: texts are printable, names can name folders, overrides are plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from openmix.benchmark.limits import MOST_CHARACTERS, MOST_TEXT
from openmix.errors import InputError, acts, brief
from openmix.options import sets

_MOST_DEPTH = 50
_MOST_VALUES = 100_000  # per row, column or cell; an alias counts once per use
# Settings that the table gives to each run itself, with the way to set them.
_OF_RUNS = {
    'work_dir': "a run's folder is below that of the table: give --work-dir",
    'launcher': 'the processes of a run are counted by --gpus-per-run',
    'resume': 'what was interrupted is resumed as it is',
    'weights': 'say `from` of the row, column or cell',
    'randomness.seed': 'the seeds of its trials are its own: list them under `seeds` of the table',
}
# Keys that make a recipe load or run code; a table may only change settings.
_OF_PROGRAMS = ('custom_imports', '_base_', '_scope_')


def check_text(where: str, value: Any, most: int = MOST_TEXT) -> str:
    """Return a text unchanged if it is printable and not too long.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, str):
        raise InputError(f'{where} must be text, got {brief(value)}')
    if len(value) > most:
        raise InputError(f'{where} has {len(value)} characters; at most {most} are allowed')
    found = next((character for character in value if character not in '\n\t' and acts(character)), None)
    if found is not None:
        raise InputError(f'{where} holds the control character {found!a}')
    return value


def check_name(where: str, value: Any) -> str:
    """Return the name of a row or a column unchanged if it is one line of text.

    Raises:
        InputError: it is not.
    """
    check_text(where, value)
    if not value.strip() or '\n' in value or '\t' in value or len(value) > MOST_CHARACTERS:
        raise InputError(f'{where} must be a line of 1 to {MOST_CHARACTERS} characters, got {brief(value)}')
    return value


def check_data(where: str, value: Any) -> None:
    """Check that the value of an override is plain data, because a table must not run code.

    A `type` must be a registered name: a dotted path would import the module that it names.

    Raises:
        InputError: it is not.
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
    """Check that overrides of a recipe set nothing that the table sets for each run: they would be lost.

    Raises:
        InputError: they do, or are not plain data.
    """
    check_data(where, found)
    for place, told in _OF_RUNS.items():
        if sets(found, place):
            raise InputError(f'{where}: {place} is not read, {told}')


def check_type(where: str, value: str) -> None:
    """Check that a `type` is a registered name.

    Raises:
        InputError: it is a path to code.
    """
    if re.search(r'[.:]', value):
        raise InputError(
            f'{where}: type {brief(value)} is a path to code; a table takes registered names only, '
            'register it in a Python recipe'
        )


def check_key(where: str, key: Any) -> None:
    """Check that a key, dotted or not, is a text of plain characters and loads no code.

    Raises:
        InputError: it is not, or does.
    """
    if not isinstance(key, str):
        raise InputError(f'{where}: the key {brief(key)} is not text; quote it')
    if not key or len(key) > MOST_CHARACTERS or not key.isprintable() or re.search(r'["\'\\{}=#]', key):
        raise InputError(f'{where}: the key {brief(key)} is not a name')
    for part in key.split('.'):
        if part in _OF_PROGRAMS:
            raise InputError(f"{where}: '{part}' loads code; a table is data, set it in a Python recipe")
