"""Gaussian blur of a whole batch, on the batch's device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor, nn

from openmix.data.color_jitter import chosen
from openmix.errors import check_number, check_range
from openmix.ops.precision import full_precision
from openmix.registry import TRANSFORMS


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image with its own standard deviation; pixels outside repeat those of the border, as in Pillow.

    The blurring matrices are those of a Gaussian over whole rows and columns. Pillow approximates it by three box
    blurs, which differs by 0.6 to 1.6 grey levels in the mean.

    Args:
        x: (N, C, H, W) float.
        sigma: (N,) > 0, in pixels.
    """
    rows, cols = (_matrix(sigma, side) for side in x.shape[2:])
    with full_precision(x):
        return rows[:, None] @ (x @ cols.mT[:, None])


def _matrix(sigma: Tensor, side: int) -> Tensor:
    """Compute (N, side, side) float32 weights: row i has the weights of the source pixels for output pixel i."""
    reach = side + 1
    at = torch.arange(side, device=sigma.device)
    source = torch.arange(-reach, side + reach, device=sigma.device)
    weight = torch.exp(-0.5 * ((source - at[:, None]) / sigma[:, None, None]).square())
    weight = weight / weight.sum(2, keepdim=True)
    inside = weight[:, :, reach : reach + side]
    return (
        inside
        + F.pad(weight[:, :, :reach].sum(2, keepdim=True), (0, side - 1))
        + F.pad(weight[:, :, reach + side :].sum(2, keepdim=True), (side - 1, 0))
    )


@TRANSFORMS.register_module()
class BatchGaussianBlur(nn.Module):
    """Blur each image with probability `p`, by a standard deviation that is uniform in `sigma`.

    MoCo v2's blur (Chen et al., 2020), by a Gaussian, which Pillow's only approximates; see `gaussian_blur`.

    Args:
        sigma: lowest and highest standard deviation in pixels, > 0.
        p: probability of each image.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), p: float = 0.5) -> None:
        super().__init__()
        check_range('BatchGaussianBlur: sigma', sigma, 0.0, math.inf, above=True, equal=True)
        check_number('BatchGaussianBlur: p', p, 0.0, 1.0)
        self.sigma, self.p = (sigma[0], sigma[1]), p

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W), uint8 or floating point in [0, 1]; shape and dtype stay."""
        sigma = torch.empty(len(x), device=x.device).uniform_(*self.sigma)
        blurred = gaussian_blur(x.float(), sigma)
        return chosen(x, (blurred.round_() if x.dtype == torch.uint8 else blurred).to(x.dtype), self.p)

    def extra_repr(self) -> str:
        return f'sigma={self.sigma}, p={self.p}'


@TRANSFORMS.register_module()
class PillowGaussianBlur:
    """Blur a Pillow image by a standard deviation that is uniform in `sigma`: the blur of MoCo v2's released code.

    Args:
        sigma: lowest and highest standard deviation in pixels, > 0.

    Raises:
        InputError: they are out of range.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0)) -> None:
        check_range('PillowGaussianBlur: sigma', sigma, 0.0, math.inf, above=True, equal=True)
        self.sigma = (sigma[0], sigma[1])

    def __call__(self, image: Image.Image) -> Image.Image:
        low, high = self.sigma
        return image.filter(ImageFilter.GaussianBlur(low + (high - low) * float(torch.rand(()))))
