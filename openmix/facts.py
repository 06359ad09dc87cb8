"""`Facts`: what is known of a data set without reading its images."""

from __future__ import annotations

from dataclasses import dataclass


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
