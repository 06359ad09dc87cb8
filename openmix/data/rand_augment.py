"""RandAugment of timm, with its settings as numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import str_to_pil_interp
from torchvision.transforms import InterpolationMode

from openmix.data.facts import IMAGENET_MEAN
from openmix.errors import check_number
from openmix.registry import TRANSFORMS


def _at_least_one(bits: Callable, level: float, hparams: dict) -> tuple[int]:
    """Return timm's number of bits, at least 1: with 0, older Pillow makes the image black and newer Pillow fails."""
    return (max(1, bits(level, hparams)[0]),)


@TRANSFORMS.register_module()
class RandAugment:
    """Apply timm's RandAugment to a single Pillow image (Cubuk et al., 2020).

    Papers write its settings as magnitude/std: 9/0.5 is timm's `rand-m9-mstd0.5-inc1`.

    *Differs from timm*: posterizing keeps at least one bit.

    Args:
        magnitude: strength of an operation, an integer in [0, 10].
        std: standard deviation of the noise on the magnitude.
        layers: number of operations per image.
        p: probability of each operation.
        size: side of the images; limits the translations.
        mean: colour of uncovered pixels, in [0, 1].
        interpolation: interpolation of rotations and shears, by name.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        magnitude: int = 9,
        std: float = 0.5,
        layers: int = 2,
        p: float = 0.5,
        size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        interpolation: str | InterpolationMode = 'bicubic',
    ) -> None:
        check_number('RandAugment: magnitude', magnitude, 0, 10)
        check_number('RandAugment: std', std, 0.0, 10.0)
        check_number('RandAugment: layers', layers, 1, 16)
        check_number('RandAugment: p', p, 0.0, 1.0)
        check_number('RandAugment: size', size, 1)
        drawn = dict(
            translate_const=int(size * 0.45),
            img_mean=tuple(min(255, round(255 * value)) for value in mean),
            interpolation=str_to_pil_interp(InterpolationMode(interpolation).value),
        )
        name = f'rand-m{magnitude}-n{layers}-p{float(p)}-mstd{float(std)}-inc1'
        self.transform = rand_augment_transform(name, drawn)
        for operation in self.transform.ops:
            if operation.name == 'PosterizeIncreasing':
                operation.level_fn = functools.partial(_at_least_one, operation.level_fn)

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.transform(image)
