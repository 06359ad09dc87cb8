"""Read the fields of a table file as lists and mappings; an error is one line with the field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from openmix.errors import InputError, brief, nearest


def list_of(where: str, value: Any) -> list:
    """Return a field's list; empty if the field is missing.

    Raises:
        InputError: it is not a list.
    """
    if value is not None and not isinstance(value, list):
        raise InputError(f'{where}: expected a list, got {brief(value)}')
    return value or []


def mapping_of(where: str, value: Any) -> dict[str, Any]:
    """Return a copy of a field's mapping; empty if the field is missing.

    Raises:
        InputError: it is not a mapping, or a key is not text.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f'{where}: expected a mapping, got {brief(value)}')
    for key in value or {}:
        if not isinstance(key, str):
            raise InputError(f'{where}: the key {brief(key)} is not text; quote it')
    return dict(value or {})


def globs_of(where: str, value: Any) -> tuple[str, ...]:
    """Return the globs of a field that has one or a list of them.

    Raises:
        InputError: it has neither.
    """
    globs = value if isinstance(value, list) else [value]
    if not globs or not all(isinstance(glob, str) for glob in globs):
        raise InputError(f'{where} must be a glob or a list of globs, got {brief(value)}')
    return tuple(globs)


def check_known(where: str, kind: str, given: Any, names: Collection[str]) -> None:
    """Raise an `InputError` that names the nearest name unless `given` is one of `names`."""
    if not isinstance(given, str) or given not in names:
        raise InputError(f'{where}: unknown {kind} {quoted(given)}; {nearest(str(given), names)}')


def quoted(value: Any) -> str:
    """Quote a name for messages."""
    return f"'{value}'" if isinstance(value, str) and value.isprintable() and len(value) < 80 else brief(value)
