"""RandAugment with levels, each operation applied with a probability, and Cutout of a fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw

from openmix.data.random_size_cutout import check_fill
from openmix.data.uniform_rand_augment import GEOMETRIC, OPERATIONS, magnitude
from openmix.errors import check_number
from openmix.registry import TRANSFORMS

_LEVELS = 10
# Translations are by whole pixels, rounded towards zero; 0 is the width and 1 the height of `image.size`.
_SIDE = {'translate_x': 0, 'translate_y': 1}


def strength_at(name: str, level: int, negative: bool, size: tuple[int, int]) -> float:
    """Return the magnitude of an operation of `OPERATIONS` at a level in [0, 10].

    Args:
        name: the operation.
        level: 0 is its lower bound and 10 its upper bound; of a geometric operation 0 is none.
        negative: turn the sign of a geometric operation.
        size: width and height of the image.
    """
    share = level / _LEVELS
    if name in GEOMETRIC:
        share = (1 - share if negative else 1 + share) / 2
    found = float(magnitude(OPERATIONS[name], torch.tensor(share, dtype=torch.float64)))
    if name not in _SIDE:
        return found
    side = size[_SIDE[name]]
    return int(round(found * side, 9)) / side


@TRANSFORMS.register_module()
class LevelRandAugment:
    """Apply operations drawn from fourteen to one Pillow image, each at a random level with a probability.

    The operations are those of `UniformRandAugment`, drawn with replacement. The level is uniform in 1..9 of 10, the
    sign of a geometric operation random (Sohn et al., 2020, as in released code).

    Args:
        layers: number of operations that are drawn.
        prob: probability that a drawn operation is applied.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, layers: int = 2, prob: float = 0.5) -> None:
        check_number('LevelRandAugment: layers', layers, 1, 16)
        check_number('LevelRandAugment: prob', prob, 0.0, 1.0)
        self.layers, self.prob = layers, prob

    def __call__(self, image: Image.Image) -> Image.Image:
        names = list(OPERATIONS)
        for number in torch.randint(len(names), (self.layers,)).tolist():
            level, negative = int(torch.randint(1, _LEVELS, ())), bool(torch.rand(()) < 0.5)
            if torch.rand(()) < self.prob:
                strength = strength_at(names[number], level, negative, image.size)
                image = OPERATIONS[names[number]].image(image, strength)
        return image


@TRANSFORMS.register_module()
class Cutout:
    """Fill a square in one Pillow image, with the centre anywhere in it (DeVries and Taylor, 2017).

    *Differs from the paper*: the square is larger by a pixel, and only its upper left part is cut off at the border
    before its length is added, as in released code of semi-supervised methods.

    Args:
        size: side in pixels.
        fill: levels of red, green and blue in 0..255.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, size: int = 16, fill: Sequence[int] = (127, 127, 127)) -> None:
        check_number('Cutout: size', size, 1)
        self.size, self.fill = size, check_fill('Cutout', fill)

    def __call__(self, image: Image.Image) -> Image.Image:
        edges = []
        for length, draw in zip(image.size, torch.rand(2, dtype=torch.float64).tolist()):
            first = int(max(0.0, length * draw - self.size / 2))
            edges.append((first, min(length, first + self.size)))
        (left, right), (top, bottom) = edges
        image = image.copy()
        ImageDraw.Draw(image).rectangle((left, top, right, bottom), self.fill)
        return image
