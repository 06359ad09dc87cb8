"""The size of a smoke run, and the protocol by which a class declares the arguments of its small version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

BATCH, IMAGES = 4, 8  # samples per batch, images per data set
SIDE = 64  # largest side of images, in pixels

_Function = TypeVar('_Function', bound=Callable)


@runtime_checkable
class Small(Protocol):
    """A class or function that declares the arguments of its small version for smoke runs.

    Attributes:
        small: a dict of arguments, with dotted names for arguments inside of an argument; or a function that
            computes this dict from the arguments in a recipe.
    """

    small: Any


def small(
    by: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None, /, **arguments: Any
) -> Callable[[_Function], _Function]:
    """Declare the arguments of the small version of a function; a class has an attribute `small` instead.

    Args:
        by: function that computes the arguments from those in a recipe; instead of `arguments`.
        arguments: the arguments and their values.
    """

    def mark(function: _Function) -> _Function:
        function.small = by or arguments  # type: ignore[attr-defined]
        return function

    return mark


def small_of(built: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the small version of a class or function; empty if it declares none.

    Args:
        built: class or function.
        given: the arguments in a recipe.
    """
    if not isinstance(built, Small):
        return {}
    return dict(built.small(given) if callable(built.small) else built.small)
