"""RandAugment with uniform magnitudes, of one Pillow image and of a whole batch on its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor, nn

from openmix.errors import check_number
from openmix.ops import affine, enhance
from openmix.ops.batches import check_rgb
from openmix.registry import TRANSFORMS


class Operation(NamedTuple):
    """One operation: bounds of its magnitude, and the operation on one image and on a batch.

    Attributes:
        low, high: the magnitude is uniform between them.
        image: (Pillow image, magnitude) -> Pillow image.
        batch: (uint8 (n, 3, H, W), magnitudes (n,) float64) -> uint8 (n, 3, H, W); of a geometric operation it returns
            the (n, 6) matrices for `affine_nearest` instead.
    """

    low: float
    high: float
    image: Callable[[Image.Image, float], Image.Image]
    batch: Callable[[Tensor, Tensor], Tensor]


def _moved(image: Image.Image, a: float, b: float, c: float, d: float, e: float, f: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f))


GEOMETRIC = {
    'rotate': Operation(-30, 30, lambda i, m: i.rotate(m), lambda x, m: affine.rotation(m, *x.shape[2:])),
    'shear_x': Operation(-0.3, 0.3, lambda i, m: _moved(i, 1, m, 0, 0, 1, 0), lambda x, m: affine.shear_x(m)),
    'shear_y': Operation(-0.3, 0.3, lambda i, m: _moved(i, 1, 0, 0, m, 1, 0), lambda x, m: affine.shear_y(m)),
    # Translations are a share of the side.
    'translate_x': Operation(
        -0.3,
        0.3,
        lambda i, m: _moved(i, 1, 0, m * i.width, 0, 1, 0),
        lambda x, m: affine.translate_x(m * x.shape[3]),
    ),
    'translate_y': Operation(
        -0.3,
        0.3,
        lambda i, m: _moved(i, 1, 0, 0, 0, 1, m * i.height),
        lambda x, m: affine.translate_y(m * x.shape[2]),
    ),
}
OF_LEVELS = {
    'autocontrast': Operation(0, 1, lambda i, m: ImageOps.autocontrast(i), lambda x, m: enhance.autocontrast(x)),
    'brightness': Operation(0.05, 0.95, lambda i, m: ImageEnhance.Brightness(i).enhance(m), enhance.brightness),
    'color': Operation(0.05, 0.95, lambda i, m: ImageEnhance.Color(i).enhance(m), enhance.color),
    'contrast': Operation(0.05, 0.95, lambda i, m: ImageEnhance.Contrast(i).enhance(m), enhance.contrast),
    'equalize': Operation(0, 1, lambda i, m: ImageOps.equalize(i), lambda x, m: enhance.equalize(x)),
    'identity': Operation(0, 1, lambda i, m: i, lambda x, m: x),
    # The number of bits is truncated: 4 to 7 remain.
    'posterize': Operation(4, 8, lambda i, m: ImageOps.posterize(i, int(m)), enhance.posterize),
    'sharpness': Operation(0.05, 0.95, lambda i, m: ImageEnhance.Sharpness(i).enhance(m), enhance.sharpness),
    'solarize': Operation(0, 256, lambda i, m: ImageOps.solarize(i, m), enhance.solarize),  # type: ignore[arg-type]
}
OPERATIONS = GEOMETRIC | OF_LEVELS


def magnitude(operation: Operation, u: Tensor) -> Tensor:
    """Compute float64 magnitudes of an operation from uniform numbers in [0, 1)."""
    return operation.low + (operation.high - operation.low) * u.double()


@TRANSFORMS.register_module()
class UniformRandAugment:
    """Apply operations drawn from fourteen to one Pillow image, with a uniform magnitude each.

    Operations are drawn with replacement and always applied. Rotations, shears about the corner and translations take
    the nearest neighbour and leave black; the nine others change levels (Sohn et al., 2020, as in TorchSSL).

    *Differs from the paper*: which draws 2 operations and applies each with probability 0.5.

    Args:
        layers: number of operations.

    Raises:
        InputError: `layers` is out of range.
    """

    def __init__(self, layers: int = 3) -> None:
        check_number('UniformRandAugment: layers', layers, 1, 16)
        self.layers = layers

    def __call__(self, image: Image.Image) -> Image.Image:
        for number in torch.randint(len(OPERATIONS), (self.layers,)).tolist():
            operation = list(OPERATIONS.values())[number]
            image = operation.image(image, float(magnitude(operation, torch.rand(()))))
        return image


@TRANSFORMS.register_module()
class BatchUniformRandAugment(nn.Module):
    """`UniformRandAugment` of a whole batch, with operations and magnitudes of its own for each image.

    Equal to Pillow's functions to the grey level. Floating-point images are rounded to the nearest of 256 levels.

    Args:
        layers: number of operations.

    Raises:
        InputError: `layers` is out of range.
    """

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        check_number('BatchUniformRandAugment: layers', layers, 1, 16)
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, 3, H, W), uint8 or floating point in [0, 1]; shape and dtype stay.

        Raises:
            InputError: the images have another number of channels.
        """
        check_rgb('BatchUniformRandAugment', x)
        out = x if x.dtype == torch.uint8 else (x * 255).round_().to(torch.uint8)
        place = torch.arange(len(x), device=x.device)
        for _ in range(self.layers):
            order = torch.randperm(len(x), device=x.device)
            place = place.index_select(0, order)
            counts = torch.randint(len(OPERATIONS), (len(x),)).bincount(minlength=len(OPERATIONS)).tolist()
            # `index_select` copies whole images; indexing by a tensor copies pixel by pixel.
            out = apply_in_order(out.index_select(0, order), counts, torch.rand(len(x), device=x.device))
        out = out.index_select(0, place.argsort())
        return out if x.dtype == torch.uint8 else out.to(x.dtype) / 255

    def extra_repr(self) -> str:
        return f'layers={self.layers}'


def apply_in_order(x: Tensor, counts: list[int], u: Tensor) -> Tensor:
    """Apply the first of `OPERATIONS` to the first images, the second one to those after them, and so on.

    Counts of a multinomial draw on a batch in random order give each image an operation of its own, independent of all
    others; since the host knows the counts, operations run on slices and no image is touched by a second one.

    Args:
        x: uint8 (N, 3, H, W).
        counts: number of images of each operation; the sum is N.
        u: (N,) in [0, 1), the magnitudes before scaling.

    Returns:
        uint8 (N, 3, H, W).
    """
    images, draws = x.split(counts), u.split(counts)
    found = [
        operation.batch(some, magnitude(operation, draw))
        for operation, some, draw in zip(OPERATIONS.values(), images, draws, strict=True)
    ]
    matrices = torch.cat(found[: len(GEOMETRIC)])
    return torch.cat([affine.affine_nearest(x[: len(matrices)], matrices), *found[len(GEOMETRIC) :]])
