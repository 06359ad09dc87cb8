"""The image size for commands that run a trained network."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from openmix.engine.foretold import served
from openmix.errors import InputError, check_number


def image_shape(cfg: Config, given: Sequence[int] | None = None) -> tuple[int, int]:
    """Return (H, W) of the images: the given size, or else that of the recipe's test images.

    Args:
        cfg: prepared recipe.
        given: height and width, or one side; None: not given.

    Raises:
        InputError: the size is not given and unknown, or is not a valid size.
    """
    if given is None:
        if (shape := served(cfg, 'test')) is None:
            raise InputError('only reading the test images would tell their size; give --shape H W')
        return shape[-2], shape[-1]
    if len(given) > 2:
        raise InputError(f'--shape takes height and width, or one side; got {len(given)} numbers')
    for side in given:
        check_number('--shape: each side', side, 1, 2**14)
    return given[0], given[-1]
