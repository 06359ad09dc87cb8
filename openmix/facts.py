"""`Facts`: properties of a data set that are known without reading its images."""

from __future__ import annotations

from dataclasses import dataclass

from openmix.errors import InputError


@dataclass(frozen=True)
class Facts:
    """Name, classes, mean, std and image size of a data set; models and preprocessors are configured from them.

    Attributes:
        name: name of the data set.
        classes: the class names; label c is classes[c]; none for images without labels.
        mean, std: one value per channel, for pixels in [0, 1].
        size: (H, W) of one image.
        targets: names of the numbers of an image, of data for a regression; empty for other data.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    targets: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """The number of classes.

        Raises:
            InputError: the data set names none, as one of images without labels.
        """
        if self.targets:
            raise InputError(
                f'{self.name} has numbers ({", ".join(self.targets)}) and no classes, and this model is trained on '
                'classes: take data with classes, or an algorithm for a regression'
            )
        if not self.classes:
            raise InputError(
                f'{self.name} has no classes, and this model is trained on labels: take a data set with labels, or '
                'an algorithm that learns without them'
            )
        return len(self.classes)
