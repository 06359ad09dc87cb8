"""Read attributes of registered classes and functions from their source, because importing them would import torch.

So `list`, `plan` and the first check of a table are fast, and the class remains the only place of the value.
"""

from __future__ import annotations

import ast
import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGE = Path(__file__).resolve().parent
_COMPUTED = object()


class Declaration(NamedTuple):
    """The declarations in the body of one class, or behind one function as `function.attribute = value`.

    Attributes:
        registered: true if the class or function is registered.
        bases: names of its base classes.
        values: attribute -> its value, `_COMPUTED` if that is not a literal.
        methods: names of its methods.
    """

    registered: bool
    bases: tuple[str, ...]
    values: Mapping[str, Any]
    methods: frozenset[str]


def value_of(folder: str, name: str, attribute: str, otherwise: Any = None) -> Any:
    """Return an attribute of a class or function; a class inherits it from the nearest base class that defines it.

    Args:
        folder: a package of openmix, such as 'mixups'.
        name: name of the class or function.
        attribute: name of the attribute.
        otherwise: the value if nothing defines the attribute.

    Raises:
        KeyError: the package registers nothing of that name, or the value is computed.
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
    for path in sorted((_PACKAGE / folder).rglob('*.py')):
        body = ast.parse(path.read_text(encoding='utf-8')).body
        constants = _values(body, {}) | _of_imported(body, folder)
        for node in body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            registered_as = _registered_as(node)
            if isinstance(node, ast.ClassDef):
                bases = tuple(ast.unparse(base).rpartition('.')[2] for base in node.bases)
                methods = frozenset(each.name for each in node.body if isinstance(each, ast.FunctionDef))
                declared = Declaration(bool(registered_as), bases, _values(node.body, constants), methods)
                found[node.name] = found[registered_as or node.name] = declared
            elif registered_as:
                found[registered_as] = Declaration(True, (), _values(body, constants, of=node.name), frozenset())
    return found


def _of_imported(body: list[ast.stmt], own: str) -> dict[str, Any]:
    """Map each `NAME.attribute` that a class body assigns from a part of another package than `own` to its value."""
    folders = {
        each.asname or each.name: (node.module.split('.')[1], each.name)
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith('openmix.')
        for each in node.names
    }
    found = {}
    for holder in body:
        for node in holder.body if isinstance(holder, ast.ClassDef) else ():
            value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
            if isinstance(value, ast.Attribute) and (name := ast.unparse(value.value)) in folders:
                folder, part = folders[name]
                if folder != own:  # whose classes are being read
                    with contextlib.suppress(KeyError):  # no registered part
                        found[ast.unparse(value)] = value_of(folder, part, value.attr, _COMPUTED)
    return found


def _registered_as(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return the name that a class or function is registered by; '' if it is not registered."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith('.register_module'):
            given = [each.value for each in decorator.keywords if each.arg == 'name']
            return str(ast.literal_eval(given[0])) if given else node.name
    return ''


def _values(body: list[ast.stmt], constants: Mapping[str, Any], of: str = '') -> dict[str, Any]:
    """Map the names of assignments, or of attributes of `of` assigned to, to values: literals or known names."""
    found: dict[str, Any] = {}
    for node in body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        target, value = node.targets[0] if isinstance(node, ast.Assign) else node.target, node.value
        holder, _, name = ast.unparse(target).rpartition('.')
        if holder == of and isinstance(target, (ast.Name, ast.Attribute)):
            if isinstance(value, (ast.Name, ast.Attribute)) and (said := ast.unparse(value)) in constants:
                found[name] = constants[said]
                continue
            try:
                found[name] = ast.literal_eval(value)
            except ValueError:
                found[name] = _COMPUTED
    return found
