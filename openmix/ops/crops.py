"""Ten crops of whole batches: four corners and the centre, of the images and of the flipped images."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from openmix.errors import InputError

# The place of the centre crop among the ten.
CENTRE = 4


def ten_crops(x: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield ten crops (N, C, *size) of images: corners and centre, then the same places of the flipped images.

    The places are those of released code of transfer (Wang et al., ICML 2021): the last crop begins one pixel before
    the edge would allow, at 31 of 256 - 224 = 32, and the centre at half of that, which Pillow rounds, 15.5 to 16. The
    whole image is flipped and then cut at the same offsets, so the second five are not the mirror images of the first.

    Args:
        x: (N, C, H, W).
        size: (height, width) of a crop.

    Raises:
        InputError: the images are no larger than a crop.
    """
    (height, width), (full_h, full_w) = size, x.shape[-2:]
    if height >= full_h or width >= full_w:
        raise InputError(
            f'ten_crop: images of {full_h}x{full_w} have no ten crops of {height}x{width}; resize the images of the '
            'validation to a larger square, or make ten_crop smaller'
        )
    below, beside = full_h - height - 1, full_w - width - 1
    starts = [(0, 0), (0, beside), (below, 0), (below, beside), (round(below / 2), round(beside / 2))]
    for images in (x, x.flip(-1)):
        for top, left in starts:
            yield images[..., top : top + height, left : left + width]
