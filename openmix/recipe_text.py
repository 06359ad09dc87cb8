"""Writes a resolved recipe out as data: as plain values, or as Python that holds the same values and runs nothing."""

from __future__ import annotations

import keyword
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.yaml_file import dump_yaml


def is_program(value: Any) -> bool:
    """Tell whether a value is a class, function or module, which a recipe may name but not hold."""
    return callable(value) or isinstance(value, types.ModuleType)


class Recipe(Config):
    """mmengine's Config, written out as Python that holds the same values and runs nothing."""

    @property
    def pretty_text(self) -> str:
        return python_text(self._cfg_dict.to_dict())

    def dump(self, file: str | Path | None = None) -> str | None:
        """The recipe as Python, or in a file as its suffix says: Python or YAML."""
        if file is None:
            return self.pretty_text
        path = Path(file)
        text = dump_yaml(plain(self._cfg_dict.to_dict())) if path.suffix in ('.yaml', '.yml') else self.pretty_text
        path.write_text(text, encoding='utf-8')
        return None


def plain(value: Any) -> Any:
    """A value of numbers, texts, lists and dicts; a class or function by its whole path, anything else as text.

    JSON and YAML can hold it, and a safe unpickler reads it.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    # Not numbers of NumPy, nor texts of a class of their own.
    return next((kind(value) for kind in (int, float, str) if isinstance(value, kind)), _as_text(value))


def _as_text(value: Any) -> str:
    return (
        f'{value.__module__}.{value.__qualname__}'
        if is_program(value) and hasattr(value, '__qualname__')
        else str(value)
    )


def python_text(settings: Mapping[str, Any]) -> str:
    """Settings as a Python recipe of the same values, keys in order of the alphabet."""
    text = '\n'.join(f'{key} = {_literal(value, 0)}' for key, value in sorted(settings.items())) + '\n'
    return text.replace('{{', '{\\x7b')  # a recipe whose texts hold double braces is not read


def _literal(value: Any, level: int, room: int = 100) -> str:
    if isinstance(value, Mapping):
        named = all(key.isidentifier() and not keyword.iskeyword(key) for key in value)
        parts = [
            (f'{key}=' if named else f'{key!r}: ') + _literal(one, level + 1, room)
            for key, one in sorted(value.items())
        ]
        first, last = ('dict(', ')') if named else ('{', '}')
    elif isinstance(value, (list, tuple)):
        parts = [_literal(one, level + 1, room) for one in value]
        first, last = ('[', ']') if isinstance(value, list) else ('(', ',)' if len(value) == 1 else ')')
    elif isinstance(value, float) and value - value != 0:
        return f'float({str(value)!r})'
    elif value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    else:
        return repr(_as_text(value))
    line = f'{first}{", ".join(parts)}{last}'
    if len(line) <= room - 4 * level and '\n' not in line:
        return line
    inner = ''.join(f'{"    " * (level + 1)}{part},\n' for part in parts)
    return f'{first}\n{inner}{"    " * level}{last.lstrip(",")}'
