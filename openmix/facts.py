"""`Facts`: properties of a data set that are known without reading its images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """Name, classes, mean, std and image size of a data set; models and preprocessors are configured from them.

    Attributes:
        name: name of the data set.
        classes: the class names; label c is classes[c].
        mean, std: one value per channel, for pixels in [0, 1].
        size: (H, W) of one image.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
