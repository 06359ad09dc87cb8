"""Read JSON files into checked, typed values, or refuse them in one line that names the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from openmix.errors import InputError, brief
from openmix.regular_file import Missing, read_bytes

_MOST_BYTES = 64 << 20
_MOST_WHOLE = 1 << 63


def read_object(path: Path) -> dict[str, Any] | None:
    """Read the object in a JSON file; None if there is no such file.

    Raises:
        InputError: it is not a regular file, cannot be read, or does not hold one JSON object.
    """
    try:
        raw = read_bytes(path, _MOST_BYTES)
    except Missing:
        return None
    return parse_object(raw, str(path))


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse a JSON text that holds one object.

    Args:
        text: the text; bytes must be UTF-8.
        where: start of the error line.

    Raises:
        InputError: it is not JSON, not UTF-8, not an object, nested too deep, or gives a key twice.
    """
    try:
        found = json.loads(text.decode('utf-8') if isinstance(text, bytes) else text, object_pairs_hook=_unique)
    except InputError as error:
        raise InputError(f'{where}: {error}') from error
    except RecursionError as error:
        raise InputError(f'{where}: nested too deep') from error
    except ValueError as error:  # not JSON, not UTF-8, or a number with too many digits
        raise InputError(f'{where} is not JSON: {brief(str(error))[1:-1]}') from error
    if not isinstance(found, dict):
        raise InputError(f'{where}: expected an object, got {type(found).__name__}')
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise InputError(f'key {brief(twice)} is given twice')
    return found


def text_of(where: str, value: Any) -> str:
    """Return a value that is a string and can be encoded as UTF-8; else raise an `InputError`."""
    if isinstance(value, str):
        try:
            value.encode('utf-8')
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise InputError(f'{where} must be text, got {brief(value)}')


def texts_of(where: str, found: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """Return the strings under these keys of an object, as `text_of`; a key that is missing or null is left out."""
    return {key: text_of(f'{where}: {key}', found[key]) for key in keys if found.get(key) is not None}


def whole_of(where: str, value: Any, low: int = 0) -> int:
    """Return a value that is an integer of at least `low` and fits into 64 bits; else raise an `InputError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < _MOST_WHOLE:
        raise InputError(f'{where} must be an integer >= {low}, got {brief(value)}')
    return value


def number_of(where: str, value: Any) -> float:
    """Return a number as float, else raise an `InputError`; a measured value may be infinite or NaN."""
    if not isinstance(value, bool) and isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InputError(f'{where} must be a number, got {brief(value)}')


def finite_of(where: str, value: Any) -> float:
    """Return a finite number >= 0 as float; else raise an `InputError`."""
    found = number_of(where, value)
    if not math.isfinite(found) or found < 0:
        raise InputError(f'{where} must be finite and >= 0, got {brief(value)}')
    return found


def mapping_of(where: str, value: Any) -> Mapping[str, Any]:
    """Return a value that is an object; else raise an `InputError`."""
    if not isinstance(value, Mapping):
        raise InputError(f'{where} must be an object, got {brief(value)}')
    return value


def list_of(where: str, value: Any) -> list[Any]:
    """Return a value that is a list; else raise an `InputError`."""
    if not isinstance(value, list):
        raise InputError(f'{where} must be a list, got {brief(value)}')
    return value
