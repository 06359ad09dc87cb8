"""Write a resolved recipe as data: as plain values, or as Python text of literals."""

from __future__ import annotations

import copy
import keyword
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from openmix.yaml_file import dump_yaml

_UNCHANGING = frozenset({str, int, float, bool, type(None)})


def is_program(value: Any) -> bool:
    """Return true if a value is a class, function or module, which a recipe may name but not contain."""
    return callable(value) or isinstance(value, types.ModuleType)


class Recipe(Config):
    """mmengine's Config, except that it is written as Python text of literals, and copied faster."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe:
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        for key, value in self.__dict__.items():
            object.__setattr__(other, key, _copied(value, memo) if key == '_cfg_dict' else copy.deepcopy(value, memo))
        return other

    @property
    def pretty_text(self) -> str:
        return python_text(self._cfg_dict.to_dict())

    def dump(self, file: str | Path | None = None) -> str | None:
        """Return the recipe as Python text, or write it to a file, as Python or YAML by its suffix."""
        if file is None:
            return self.pretty_text
        path = Path(file)
        text = dump_yaml(plain(self._cfg_dict.to_dict())) if path.suffix in ('.yaml', '.yml') else self.pretty_text
        path.write_text(text, encoding='utf-8')
        return None


def _copied(node: Any, memo: dict[int, Any]) -> Any:
    """Copy settings as `copy.deepcopy` does; what they hold is hooked already, so that it is set as it is.

    No setting contains itself, and no two places of the copy share a dict or list.
    """
    kind = type(node)
    if kind is ConfigDict:
        other = ConfigDict()
        for key, value in dict.items(node):
            dict.__setitem__(other, key, _copied(value, memo))
        return other
    if kind is list or kind is tuple:
        return kind([_copied(value, memo) for value in node])
    return node if kind in _UNCHANGING else copy.deepcopy(node, memo)


def plain(value: Any) -> Any:
    """Convert a value to numbers, strings, lists and dicts; a class or function becomes its full name.

    The result can be written as JSON and YAML, and be read by a safe unpickler.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    # Converts NumPy numbers and subclasses of str to the built-in types.
    return next((kind(value) for kind in (int, float, str) if isinstance(value, kind)), _as_text(value))


def _as_text(value: Any) -> str:
    return (
        f'{value.__module__}.{value.__qualname__}'
        if is_program(value) and hasattr(value, '__qualname__')
        else str(value)
    )


def python_text(settings: Mapping[str, Any]) -> str:
    """Write settings as a Python recipe with the same values, sorted by key."""
    text = '\n'.join(f'{key} = {_literal(value, 0)}' for key, value in sorted(settings.items())) + '\n'
    return text.replace('{{', '{\\x7b')  # a recipe with double braces in its text is refused


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
