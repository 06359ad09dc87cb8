"""Rotated digits: a regression on real images that are part of scikit-learn, whose targets are made."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from openmix.data.digits import PackagedDigits, read_digits
from openmix.data.facts import Facts
from openmix.data.numbered import NumberedImages
from openmix.data.splits import Subset, every_nth_of_class, source_split
from openmix.registry import DATASETS

MOST = 45.0  # degrees to either side
FACTS = Facts('RotatedDigits', (), (0.3047,) * 3, (0.3024,) * 3, (16, 16), ('angle',))


def rotated(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate images about their centres, counterclockwise, by bilinear interpolation; what comes in is black.

    Args:
        images: (N, C, S, S) uint8.
        degrees: (N,) float32.
    """
    turn = degrees * (math.pi / 180)
    cos, sin, zero = turn.cos(), turn.sin(), torch.zeros_like(turn)
    grid = F.affine_grid(
        torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1),
        list(images.shape),
        align_corners=False,
    )
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)


def read_rotated_digits() -> tuple[Tensor, Tensor, Tensor]:
    """Return all images, uint8 (1797, 3, 16, 16), the classes (1797,) of their digits, and their angles (1797, 1).

    The angles are uniform in [-45, 45] degrees and the same in every run.
    """
    images, classes = read_digits()
    degrees = MOST * (2 * torch.rand(len(images), generator=torch.Generator().manual_seed(0)) - 1)
    return rotated(images, degrees), classes, degrees[:, None]


@DATASETS.register_module()
class RotatedDigits(NumberedImages, PackagedDigits):
    """Handwritten digits at 16 x 16, rotated by a known angle that is to be told; every fifth of a class is tested on.

    The images are real, and the target is made: the angle in degrees by which openmix rotated the image, uniform in
    [-45, 45], counterclockwise. A digit was written at an angle of its own, which is not known, so no prediction is
    exact.

    Args:
        split: 'train', 'val' (needs `val_fraction`) or 'test'.
        val_fraction: fraction of each digit held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each digit, or a file that lists images, see `choose_rows`.

    Raises:
        InputError: there is no such split, or a number is out of range.
    """

    def __init__(
        self, split: str = 'train', val_fraction: float = 0.0, split_seed: int | None = 0, subset: Subset = None
    ) -> None:
        source = source_split('RotatedDigits', split, val_fraction)
        images, classes, degrees = read_rotated_digits()
        chosen = every_nth_of_class(classes, 5) == (source == 'test')
        super().__init__(FACTS, images[chosen], classes[chosen], split, val_fraction, split_seed, subset)
        self.give_numbers(degrees[chosen][self.rows])

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return FACTS
