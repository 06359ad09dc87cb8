"""Reads what registered classes declare of themselves, from their source: importing them would import torch.

`list`, `plan` and a first look at a table answer at once by this; the classes stay the one place that says it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGE = Path(__file__).resolve().parent
_COMPUTED = object()


class Declaration(NamedTuple):
    """Holds what one class says of itself.

    Attributes:
        registered: whether a registry takes it by its name.
        bases: names of the classes that it builds on.
        values: class attribute -> its value, `_COMPUTED` where that is no literal.
        methods: names of its functions.
    """

    registered: bool
    bases: tuple[str, ...]
    values: Mapping[str, Any]
    methods: frozenset[str]


def value_of(folder: str, name: str, attribute: str, otherwise: Any = None) -> Any:
    """The class attribute of a class or of the nearest class that it builds on.

    Args:
        folder: a package of openmix, such as 'mixups'.
        name: of the class.
        otherwise: where none of them states it.

    Raises:
        KeyError: the package registers no class of that name, or only running its code tells the value.
    """
    for declared in _line(folder, name):
        if attribute in declared.values:
            if declared.values[attribute] is _COMPUTED:
                raise KeyError(attribute)
            return declared.values[attribute]
    return otherwise


def defines(folder: str, name: str, method: str) -> bool:
    """Tell whether a class, or a class that it builds on, has a method.

    Raises:
        KeyError: the package registers no class of that name.
    """
    return any(method in declared.methods for declared in _line(folder, name))


def _line(folder: str, name: str) -> list[Declaration]:
    """A class and those of its package that it builds on, nearest first."""
    known = _classes(folder)
    if not known[name].registered:
        raise KeyError(name)
    line, names = [known[name]], list(known[name].bases)
    while names:
        base = names.pop(0)
        if base in known:
            line.append(known[base])
            names += known[base].bases
    return line


@functools.cache
def _classes(folder: str) -> dict[str, Declaration]:
    found = {}
    for path in sorted((_PACKAGE / folder).glob('*.py')):
        body = ast.parse(path.read_text(encoding='utf-8')).body
        constants = _values(body, {})
        for node in body:
            if isinstance(node, ast.ClassDef):
                registered = any('.register_module' in ast.unparse(each) for each in node.decorator_list)
                bases = tuple(ast.unparse(base).rpartition('.')[2] for base in node.bases)
                methods = frozenset(each.name for each in node.body if isinstance(each, ast.FunctionDef))
                found[node.name] = Declaration(registered, bases, _values(node.body, constants), methods)
    return found


def _values(body: list[ast.stmt], constants: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value of the assignments: a literal, or a constant of the file."""
    found: dict[str, Any] = {}
    for node in body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        target, value = node.targets[0] if isinstance(node, ast.Assign) else node.target, node.value
        if isinstance(target, ast.Name):
            if isinstance(value, ast.Name) and value.id in constants:
                found[target.id] = constants[value.id]
                continue
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                found[target.id] = _COMPUTED
    return found
