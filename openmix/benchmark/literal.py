"""Write a resolved recipe as Python that consists of literals only, so that nothing in a table becomes code."""

from __future__ import annotations

import ast
import keyword
import math
from collections.abc import Mapping
from typing import Any

from openmix.errors import InputError, brief

_RESERVED = ('filename', 'text', 'pretty_text', 'env_variables')  # attributes of mmengine's Config
_WIDTH = 120


def as_python(values: Mapping[str, Any], about: str = '') -> str:
    """Write a Python file with one assignment per key, sorted, and a docstring.

    Keys and values are written by `repr` and read back as a check: values and types must be equal.
    Values may be None, booleans, numbers, text, and lists, tuples and dicts of them.

    Args:
        values: the settings.
        about: the docstring.

    Raises:
        InputError: a key is not a Python name, or a value has another type.
    """
    for key, value in values.items():
        if not _is_name(key) or key.startswith('__') or key in _RESERVED:
            raise InputError(
                f'{brief(key)} cannot be a key of a recipe: it must be a name, no keyword or reserved word'
            )
        _check(key, value)
    lines = [f'{key} = {source(values[key], len(key) + 3)}' for key in sorted(values)]
    # Double braces are escaped, because a recipe with double braces in its text is refused.
    text = '\n'.join([ascii_braces(repr_of_docstring(about)), *map(ascii_braces, lines), ''])
    if _typed(read_back(text)) != _typed(dict(values)):
        raise InputError('a value does not survive being written down as Python')
    return text


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


def source(value: Any, before: int = 0, level: int = 0) -> str:
    """Write a value as Python source, on several lines if it is long.

    Args:
        value: the value.
        before: number of characters before it in its line.
        level: depth of nesting.
    """
    if isinstance(value, float) and math.isinf(value):
        return '1e999' if value > 0 else '-1e999'
    if not isinstance(value, (dict, list, tuple)) or not value:
        return repr(value)
    opened, closed, pairs = _pieces(value)
    items = [f'{key}{source(each, before + len(key), level + 1)}' for key, each in pairs]
    flat = f'{opened}{", ".join(items)}{"," if isinstance(value, tuple) and len(value) == 1 else ""}{closed}'
    if before + len(flat) <= _WIDTH and '\n' not in flat:
        return flat
    indent = '    ' * (level + 1)
    rows = ''.join(f'{indent}{key}{source(each, len(indent) + len(key), level + 1)},\n' for key, each in pairs)
    return f'{opened}\n{rows}{"    " * level}{closed}'


def _pieces(value: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    """Return the brackets of a dict, list or tuple, and its items, each with its prefix: 'key=', 'key: ' or ''."""
    if isinstance(value, dict):
        in_order = sorted(value.items(), key=lambda item: str(item[0]))
        if all(map(_is_name, value)):
            return 'dict(', ')', [(f'{key}=', each) for key, each in in_order]
        return '{', '}', [(f'{key!r}: ', each) for key, each in in_order]
    opened, closed = '[]' if isinstance(value, list) else '()'
    return opened, closed, [('', each) for each in value]


def read_back(text: str) -> dict[str, Any]:
    """Parse the values in a file of `as_python`, without running it.

    Raises:
        InputError: the file has anything else than assignments.
    """
    found = {}
    for statement in ast.parse(text).body[1:]:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise InputError(f'no assignment: {brief(ast.unparse(statement))}')
        found[statement.targets[0].id] = _value(statement.value)
    return found


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {str(each.arg): _value(each.value) for each in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _value(each) for key, each in zip(node.keys, node.values) if key is not None}
    if isinstance(node, ast.List):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(each) for each in node.elts)
    return ast.literal_eval(node)


def _typed(value: Any) -> Any:
    """Convert a value so that comparing also compares types; the order of keys does not count."""
    if isinstance(value, dict):
        return {(type(key), key): _typed(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [_typed(each) for each in value]
    return type(value), repr(value)


def repr_of_docstring(text: str) -> str:
    """Write a text as the docstring of a file."""
    return '"""' + text.replace('\\', '\\\\').replace('"', '\\"') + '"""\n'


def ascii_braces(source: str) -> str:
    """Escape double braces in the strings of Python source, without changing their values."""
    return source.replace('{{', '{\\x7b')


def _check(place: str, value: Any) -> None:
    if isinstance(value, float) and math.isnan(value):
        raise InputError(f'{place} is not a number (nan)')
    if type(value) in (str, int, float, bool, type(None)):
        return
    if type(value) is dict:
        for key, inner in value.items():
            if type(key) not in (str, int, float, bool):
                raise InputError(f'{place}: {brief(key)} cannot be a key')
            _check(f'{place}.{key}', inner)
    elif type(value) in (list, tuple):
        for i, inner in enumerate(value):
            _check(f'{place}.{i}', inner)
    else:
        raise InputError(f'{place} is a {type(value).__name__}, which no table can write down: {brief(value)}')
