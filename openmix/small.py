"""How small a smoke run is, and what each class says of the arguments that make it so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

BATCH, IMAGES = 8, 16  # of a batch, of each data set
SIDE = 64  # pixels, where a recipe has larger images

_Function = TypeVar('_Function', bound=Callable)


@runtime_checkable
class Small(Protocol):
    """A class or function that says which arguments make it small.

    Attributes:
        small: arguments and their values, a dotted name for one inside of an argument; or a function of the
            arguments that a recipe gives, which returns them.
    """

    small: Any


def small(
    by: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None, /, **arguments: Any
) -> Callable[[_Function], _Function]:
    """Say of a function, as `small` of a class does, which arguments make it small.

    Args:
        by: a function of the arguments that a recipe gives, instead of `arguments`.
        arguments: with their values.
    """

    def mark(function: _Function) -> _Function:
        function.small = by or arguments  # type: ignore[attr-defined]
        return function

    return mark


def small_of(built: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a class or function small; none where it says nothing.

    Args:
        built: what a registry holds.
        given: the arguments that a recipe gives.
    """
    if not isinstance(built, Small):
        return {}
    return dict(built.small(given) if callable(built.small) else built.small)
