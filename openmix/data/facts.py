"""`Facts`: what a data set is, known without reading its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openmix.errors import InputError, check_number

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Facts:
    """Name, classes, mean, std and image size of a data set, by which models and preprocessors are sized.

    Attributes:
        name: how the data set is called.
        classes: one name a class; label c is classes[c].
        mean, std: one value a channel, of pixels in [0, 1].
        size: (H, W) of one image.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]


def as_size(size: int | Sequence[int], where: str = 'size') -> tuple[int, int]:
    """(H, W) of an image given by one side or by both.

    Raises:
        InputError: it is neither, or out of 1..8192; the line names `where`.
    """
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if len(sides) != 2:
        raise InputError(f'{where} must be one side or (height, width), got {size!r}')
    for side in sides:
        check_number(where, side, 1, LARGEST_SIDE)
    return sides[0], sides[1]
