"""`Facts`: what a data set is, known without reading its images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a data set is: models and preprocessors are sized by it.

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


def as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W) of an image given by one side or by both."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
