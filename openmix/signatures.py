"""The arguments of classes and functions, and the check of a recipe's values against their annotations."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

_WORDS = {
    int: 'an integer',
    float: 'a number',
    bool: 'True or False',
    str: 'a string',
    type(None): 'None',
    dict: 'a dict',
    list: 'a list',
    tuple: 'a list',
}
_LISTS = (list, tuple, set, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def arguments(built: Callable) -> dict[str, inspect.Parameter] | None:
    """Return the arguments of a class or function, with resolved annotations; None if it accepts any name.

    A class with `**kwargs` is assumed to pass them to the next constructor in its method resolution order.
    """
    if not inspect.isclass(built):
        own, is_open = _signature(built)
        return None if is_open else own
    known: dict[str, inspect.Parameter] = {}
    for cls in built.__mro__:
        if cls is object:
            break
        if '__init__' in vars(cls):
            own, is_open = _signature(vars(cls)['__init__'])
            known = {**own, **known}
            if not is_open:
                return known
    return None


def named(built: Callable) -> dict[str, inspect.Parameter]:
    """Return the arguments in the signature of a class or function itself, without base classes."""
    return _signature(vars(built)['__init__'] if inspect.isclass(built) and '__init__' in vars(built) else built)[0]


def _signature(function: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments that can be given by name, and true if the function also accepts `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    hints = hints_of(function)
    kinds = inspect.Parameter
    own = {
        p.name: p.replace(annotation=hints.get(p.name, p.empty))
        for p in parameters
        if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    }
    return own, any(p.kind is kinds.VAR_KEYWORD for p in parameters)


def hints_of(function: Any) -> dict[str, Any]:
    """Return resolved annotations; empty if one of them cannot be resolved."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Return true if a value of a recipe fits an annotation, or the annotation is of an unknown kind.

    A list fits any sequence, an integer fits a float, and a dict with a `type` fits any class.
    """
    if hint is Any:
        return True
    base = typing.get_origin(hint) or hint
    inner = typing.get_args(hint)
    if base in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if base is typing.Annotated:
        return fits(value, inner[0])
    if base is typing.Literal:
        return value in inner
    if base is None or base is type(None):
        return value is None
    if base in (int, float):
        return isinstance(value, (int, float) if base is float else int) and not isinstance(value, bool)
    if base in _LISTS:
        if isinstance(value, (str, Mapping)) or not isinstance(value, (Sequence, set)):
            return False
        if base is tuple and inner and inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(fits, value, inner))
        return not inner or all(fits(one, inner[0]) for one in value)
    if base in _DICTS:
        if len(inner) == 2 and isinstance(value, Mapping) and 'type' not in value:
            return all(fits(one, inner[1]) or one is None for one in value.values())
        return isinstance(value, Mapping)
    if base is collections.abc.Callable:
        return callable(value) or isinstance(value, (str, Mapping))
    if base in (bool, str):
        return isinstance(value, base)
    if not inspect.isclass(base) or base is object:
        return True
    # A class is given as an object, a dict that builds one, or for some classes as a string.
    if isinstance(value, str):
        return issubclass(base, (os.PathLike, enum.Enum, torch.device, torch.dtype))
    return isinstance(value, (base, Mapping)) or callable(value)


def described(hint: Any) -> str:
    """Describe an annotation in words, for an error message."""
    base = typing.get_origin(hint) or hint
    inner = typing.get_args(hint)
    if base is typing.Annotated:
        return described(inner[0])
    if base in (typing.Union, types.UnionType):
        return ' or '.join(dict.fromkeys(described(one) for one in inner))
    if base is typing.Literal:
        return ' or '.join(map(repr, inner))
    if base in _LISTS:
        counted = base is tuple and inner and inner[-1] is not Ellipsis
        what = described(inner[0]).partition(' ')[2] if inner and inner[0] in (int, float, str) else ''
        return f'a list of {f"{len(inner)} " if counted else ""}{f"{what}s" if what else "values"}'
    if base in _DICTS or base is dict:
        return 'a dict'
    if base is None:
        return 'None'
    return _WORDS.get(base, f'a dict with a type ({base.__name__})' if inspect.isclass(base) else str(hint))
