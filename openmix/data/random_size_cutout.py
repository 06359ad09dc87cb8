"""Cutout of a random size, of one Pillow image and of a whole batch on its device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.ops.batches import check_rgb
from openmix.ops.boxes import box_mask
from openmix.registry import TRANSFORMS

_FILL = (125, 123, 114)


def box(u: Tensor, largest: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Compute boxes from uniform numbers: side `largest` u_0 times the width, centre uniform between 1 and the side.

    A box is cut off at the border above and to the left before its length is added, so that it is shorter than its side
    below and to the right only, and its last pixel is included, as in published semi-supervised runs.

    Args:
        u: (N, 3) in [0, 1): side, column and row of the centre.
        largest: see `RandomSizeCutout`.
        height, width: size of the image.

    Returns:
        Two (N, 2) int64 tensors, the first and the one-past-last row and column; equal where the side is 0.
    """
    u = u.double()
    side = largest * width * u[:, 0]
    edges = []
    for draw, length in ((u[:, 2], height), (u[:, 1], width)):
        # NumPy's uniform(length) is uniform between `length` and 1, not from 0.
        first = (length + (1 - length) * draw - side / 2).clamp_min(0).floor()
        last = (first + side).clamp_max(length).floor()
        edges.append((first, torch.where(side > 0, last + 1, first)))
    low, high = ([edge.long() for edge in pair] for pair in zip(*edges))
    return torch.stack(low, 1), torch.stack(high, 1)


def check_fill(name: str, fill: Sequence[int]) -> tuple[int, ...]:
    """Return the levels of a colour.

    Args:
        name: the transform, for the message.
        fill: levels of red, green and blue in 0..255.

    Raises:
        InputError: they are no such levels.
    """
    if isinstance(fill, str) or not isinstance(fill, Sequence) or len(fill) != 3:
        raise InputError(f'{name}: fill must be three levels, of red, green and blue, got {fill!r}')
    for level in fill:
        check_number(f'{name}: fill', level, 0, 255)
    return tuple(fill)


def _check(name: str, largest: float, fill: Sequence[int]) -> tuple[int, ...]:
    check_number(f'{name}: largest', largest, 0.0, 1.0, above=True)
    return check_fill(name, fill)


@TRANSFORMS.register_module()
class RandomSizeCutout:
    """Fill a square of random size in one Pillow image, with the centre anywhere in it (DeVries and Taylor, 2017).

    *Differs from the paper*: the side is random, and the square is larger by a pixel and asymmetric at the border, as
    in TorchSSL; see `box`.

    Args:
        largest: largest side, as a share of the width.
        fill: levels of red, green and blue in 0..255.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, largest: float = 0.5, fill: Sequence[int] = _FILL) -> None:
        self.largest, self.fill = largest, _check('RandomSizeCutout', largest, fill)

    def __call__(self, image: Image.Image) -> Image.Image:
        low, high = box(torch.rand(1, 3), self.largest, image.height, image.width)
        (top, left), (bottom, right) = low[0].tolist(), high[0].tolist()
        if bottom == top:
            return image
        image = image.copy()
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), self.fill)
        return image


@TRANSFORMS.register_module()
class BatchRandomSizeCutout(nn.Module):
    """`RandomSizeCutout` of a whole batch, with a square of its own for each image.

    Args:
        largest, fill: see `RandomSizeCutout`.

    Raises:
        InputError: an argument is out of range.
    """

    fill: Tensor

    def __init__(self, largest: float = 0.5, fill: Sequence[int] = _FILL) -> None:
        super().__init__()
        levels = torch.tensor(_check('BatchRandomSizeCutout', largest, fill), dtype=torch.uint8)
        self.largest = largest
        self.register_buffer('fill', levels.view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, 3, H, W), uint8 or floating point in [0, 1]; shape and dtype stay.

        Raises:
            InputError: the images have another number of channels.
        """
        check_rgb('BatchRandomSizeCutout', x)
        height, width = x.shape[2:]
        inside = box_mask(*box(torch.rand(len(x), 3, device=x.device), self.largest, height, width), height, width)
        return torch.where(inside, self.fill if x.dtype == torch.uint8 else self.fill.to(x.dtype) / 255, x)

    def extra_repr(self) -> str:
        return f'largest={self.largest}, fill={tuple(self.fill.flatten().tolist())}'
