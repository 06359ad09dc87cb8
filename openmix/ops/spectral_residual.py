"""Spectral residual saliency (Hou and Zhang, CVPR 2007), batched."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError

_GRAY = (0.2989, 0.587, 0.114)
_LARGEST = 128
_LEAST = 1e-10  # added to the squared amplitude, whose logarithm is taken


def spectral_residual(pixels: Tensor, kernel: int, sigma: float) -> Tensor:
    """Compute (N, H, W) float32 saliency >= 0: what an image has that its smoothed log spectrum does not foretell.

    The log amplitudes of the gray image, less their mean over 3 x 3 frequencies, are the residual (eq. 3). The inverse
    transform with the image's phases is the saliency; its absolute value is blurred. Images with a side above 128 px
    are resized to 128 x 128 px first, and the map is resized back.

    *Differs from the paper*: absolute values are blurred, not their squares, and images are not reduced to 64 px, as in
    the released code of GuidedMixup.

    Args:
        pixels: (N, 3, H, W) or (N, 1, H, W) in [0, 1].
        kernel, sigma: of the Gaussian, see `gaussian_blur`.

    Raises:
        InputError: see `gaussian_blur`.
    """
    pixels = pixels.float()
    size = pixels.shape[2:]
    red, green, blue = _GRAY
    gray = pixels[:, 0]
    if pixels.shape[1] == 3:
        gray = red * gray + green * pixels[:, 1] + blue * pixels[:, 2]
    if max(size) > _LARGEST:
        gray = F.interpolate(gray[:, None], (_LARGEST, _LARGEST), mode='bilinear', antialias=True)[:, 0]
    spectrum = torch.fft.fft2(gray)
    amplitude = (spectrum.real.square() + spectrum.imag.square() + _LEAST).sqrt()
    log = amplitude.log()
    mean = F.avg_pool2d(F.pad(log[:, None], (1, 1, 1, 1), mode='replicate'), 3, stride=1)[:, 0]
    saliency = torch.fft.ifft2(spectrum * ((log - mean).exp() / amplitude)).abs()
    saliency = gaussian_blur(saliency, kernel, sigma)
    if max(size) > _LARGEST:
        saliency = F.interpolate(saliency[:, None], size, mode='bilinear', antialias=True)[:, 0]
    return saliency


def gaussian_blur(maps: Tensor, kernel: int, sigma: float) -> Tensor:
    """Blur maps (N, H, W) by a Gaussian of width `sigma`, cut to `kernel` x `kernel` pixels; borders are reflected.

    Raises:
        InputError: a side is at most half a kernel long.
    """
    reach = kernel // 2
    if min(maps.shape[1:]) <= reach:
        tall, wide = maps.shape[1:]
        raise InputError(f'a blur of {kernel} x {kernel} px needs sides above {reach} px, got {tall} x {wide}')
    at = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weight = torch.exp(-0.5 * (at / sigma).square())
    weight = weight / weight.sum()
    padded = F.pad(maps[:, None], (reach,) * 4, mode='reflect')
    return F.conv2d(F.conv2d(padded, weight.view(1, 1, 1, -1)), weight.view(1, 1, -1, 1))[:, 0]
