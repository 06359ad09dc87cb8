"""Check that every class has a training image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from openmix.errors import InputError, printable
from openmix.facts import Facts

_MOST_NAMED = 5  # classes in an error line


@runtime_checkable
class CountedImages(Protocol):
    """Training images that are counted by class; `listed` tells that a file lists them."""

    known: Facts
    listed: bool

    def images_a_class(self) -> Tensor: ...


def refuse_absent(owner: str, classes: Sequence[str], counts: Tensor) -> None:
    """Check that every class has a training image.

    Args:
        owner: name of an algorithm with the option `absent`.
        classes: names of the C classes.
        counts: (C,) int64 images of each.

    Raises:
        InputError: a class has none.
    """
    without = [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]
    if without:
        some = ', '.join(printable(name) for name in without[:_MOST_NAMED])
        rest = f' and {len(without) - _MOST_NAMED} more' if len(without) > _MOST_NAMED else ''
        raise InputError(
            f'{owner}: {len(without)} of {len(counts)} classes have no training image: {some}{rest}; add some, or set '
            "model.absent='kept'"
        )
