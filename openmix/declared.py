"""Read class attributes of registered classes from their source, because importing them would import torch.

So `list`, `plan` and the first check of a table are fast, and the class remains the only place of the value.
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
    """The declarations in the body of one class.

    Attributes:
        registered: true if the class is registered.
        bases: names of its base classes.
        values: class attribute -> its value, `_COMPUTED` if that is not a literal.
        methods: names of its methods.
    """

    registered: bool
    bases: tuple[str, ...]
    values: Mapping[str, Any]
    methods: frozenset[str]


def value_of(folder: str, name: str, attribute: str, otherwise: Any = None) -> Any:
    """Return a class attribute, inherited from the nearest base class that defines it.

    Args:
        folder: a package of openmix, such as 'mixups'.
        name: name of the class.
        attribute: name of the attribute.
        otherwise: the value if no class defines the attribute.

    Raises:
        KeyError: the package registers no class of that name, or the value is computed.
    """
    for declared in _line(folder, name):
        if attribute in declared.values:
            if declared.values[attribute] is _COMPUTED:
                raise KeyError(attribute)
            return declared.values[attribute]
    return otherwise


def defines(folder: str, name: str, method: str) -> bool:
    """Return true if a class, or one of its base classes in the package, defines a method.

    Raises:
        KeyError: the package registers no class of that name.
    """
    return any(method in declared.methods for declared in _line(folder, name))


def _line(folder: str, name: str) -> list[Declaration]:
    """Return a class and its base classes in the package, nearest first."""
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
    """Map the names of assignments to values: literals, or constants of the file."""
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
