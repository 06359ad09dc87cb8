"""Digits: 1,797 small real images that are part of scikit-learn, so there is nothing to download."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from openmix.data.base import ArrayDataset, OfficialHalves
from openmix.data.facts import Facts
from openmix.data.splits import Subset, every_nth_of_class, source_split
from openmix.errors import InputError
from openmix.registry import DATASETS
from openmix.small import IMAGES

FACTS = Facts('Digits', tuple('0123456789'), (0.3051,) * 3, (0.3188,) * 3, (16, 16))


def read_digits() -> tuple[Tensor, Tensor]:
    """Return all images, uint8 (1797, 3, 16, 16) upsampled from 8 x 8, and their labels (1797,) int64."""
    from sklearn.datasets import load_digits  # slow to import, and used only here

    raw = load_digits()
    grey = torch.from_numpy(raw.images).float()[:, None] * (255 / 16)
    grey = F.interpolate(grey, size=FACTS.size, mode='bilinear', align_corners=False)
    return grey.round().to(torch.uint8).repeat(1, 3, 1, 1), torch.from_numpy(raw.target).long()


class PackagedDigits(OfficialHalves, ArrayDataset):
    """A base of data sets made of scikit-learn's digits; every fifth image of a class is a test image."""

    OFFICIAL: ClassVar[dict[str, int]] = {'train': 1442, 'test': 355}
    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}

    @classmethod
    def prepare(cls, root: Path) -> None:
        raise InputError(f'{cls.__name__} comes with scikit-learn; there is nothing to prepare')

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write nothing: the images are part of scikit-learn."""


@DATASETS.register_module()
class Digits(PackagedDigits):
    """Handwritten digits at 16 x 16, 10 classes; every fifth image of a class is a test image.

    Args:
        split: 'train', 'val' (needs `val_fraction`) or 'test'.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.

    Raises:
        InputError: there is no such split, or a number is out of range.
    """

    def __init__(
        self, split: str = 'train', val_fraction: float = 0.0, split_seed: int | None = 0, subset: Subset = None
    ) -> None:
        source = source_split('Digits', split, val_fraction)
        images, labels = read_digits()
        chosen = every_nth_of_class(labels, 5) == (source == 'test')
        super().__init__(FACTS, images[chosen], labels[chosen], split, val_fraction, split_seed, subset)

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return FACTS
