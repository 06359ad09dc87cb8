"""Pixel statistics of ImageNet, and the check of image sizes in a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from openmix.errors import InputError, check_number
from openmix.facts import Facts

__all__ = ['IMAGENET_MEAN', 'IMAGENET_STD', 'LARGEST_SIDE', 'Facts', 'as_size']

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_SIDE = 8192


def as_size(size: int | Sequence[int], where: str = 'size') -> tuple[int, int]:
    """Return (H, W) for a size given as one side or as both.

    Raises:
        InputError: it is neither, or not in 1..8192; the line names `where`.
    """
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if len(sides) != 2:
        raise InputError(f'{where} must be one side or (height, width), got {size!r}')
    for side in sides:
        check_number(where, side, 1, LARGEST_SIDE)
    return sides[0], sides[1]
