"""Common corruptions of images, those that need no photographs.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (ICLR 2019).

All functions map (N, 3, H, W) pixels in [0, 1] to such pixels; `level` is the size that a severity has, see `LEVELS`.
Noise is drawn from `generators`, one an image, so that it does not depend on the batch.

*Differs from the paper*: the published images were stored as JPEG files, which adds another corruption to each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

Generators = Sequence[torch.Generator]
Level = float | tuple[float, float]


def _each(x: Tensor, generators: Generators, draw: Callable[[torch.Size, torch.Generator], Tensor]) -> Tensor:
    """Draw a tensor like each image."""
    return torch.stack([draw(image.shape, generator) for image, generator in zip(x, generators, strict=True)]).to(x)


def _normal(x: Tensor, generators: Generators) -> Tensor:
    return _each(x, generators, lambda shape, generator: torch.randn(shape, generator=generator))


def gaussian_noise(x: Tensor, level: float, generators: Generators) -> Tensor:
    """Add normal noise of standard deviation `level`."""
    return (x + level * _normal(x, generators)).clamp(0, 1)


def speckle_noise(x: Tensor, level: float, generators: Generators) -> Tensor:
    """Add normal noise of standard deviation `level` times the pixel."""
    return (x + level * x * _normal(x, generators)).clamp(0, 1)


def shot_noise(x: Tensor, level: float, generators: Generators) -> Tensor:
    """Draw every pixel from a Poisson distribution of mean `level` times the pixel, and divide by `level`."""
    rate = (x * level).cpu()
    drawn = [torch.poisson(one, generator=generator) for one, generator in zip(rate, generators, strict=True)]
    return (torch.stack(drawn).to(x) / level).clamp(0, 1)


def impulse_noise(x: Tensor, level: float, generators: Generators) -> Tensor:
    """Replace a share `level` of the values, half of them by 0 and half by 1."""
    drawn = _each(x, generators, lambda shape, generator: torch.rand(shape, generator=generator))
    return torch.where(drawn < level / 2, 0.0, torch.where(drawn < level, 1.0, x))


def gaussian_blur(x: Tensor, level: float, generators: Generators = ()) -> Tensor:
    """Blur by a Gaussian of standard deviation `level` pixels, cut off at four of them; borders are repeated."""
    radius = int(4 * level + 0.5)
    at = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / level) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    across = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode='replicate'), kernel, groups=3)
    return F.conv2d(F.pad(across, (0, 0, radius, radius), mode='replicate'), kernel.transpose(2, 3), groups=3)


def contrast(x: Tensor, level: float, generators: Generators = ()) -> Tensor:
    """Scale the distance of each pixel from its channel's mean by `level`."""
    mean = x.mean((2, 3), keepdim=True)
    return ((x - mean) * level + mean).clamp(0, 1)


def brightness(x: Tensor, level: float, generators: Generators = ()) -> Tensor:
    """Add `level` to the value of HSV."""
    value = x.amax(1, keepdim=True)
    brighter = (value + level).clamp(0, 1)
    # Red, green and blue are proportional to the value; black has no hue and becomes grey.
    return torch.where(value > 0, x * (brighter / value.clamp(min=1e-12)), brighter)


def saturate(x: Tensor, level: tuple[float, float], generators: Generators = ()) -> Tensor:
    """Multiply the saturation of HSV by level[0] and add level[1]; grey pixels have the hue of red."""
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    range_ = value - low
    saturation = range_ / value.clamp(min=1e-12)
    new = (saturation * level[0] + level[1]).clamp(0, 1)
    # How far each channel lies below the value is proportional to the saturation.
    depth = torch.where(range_ > 0, (value - x) / range_.clamp(min=1e-12), x.new_tensor([0.0, 1, 1]).view(1, 3, 1, 1))
    return (value - value * new * depth).clamp(0, 1)


def pixelate(x: Tensor, level: float, generators: Generators = ()) -> Tensor:
    """Resize to the share `level` of the sides and back, by the mean over boxes; 256 grey levels, as Pillow does."""
    (height, width), found = x.shape[-2:], x
    for rows, columns in ((int(height * level), int(width * level)), (height, width)):
        across = _rounded(found @ _boxes(found.shape[3], columns).to(x).T)
        found = _rounded(_boxes(found.shape[2], rows).to(x) @ across)
    return found


def _rounded(x: Tensor) -> Tensor:
    return (x * 255).add(0.5).floor() / 255


def _boxes(before: int, after: int) -> Tensor:
    """Make the (after, before) matrix that averages each new pixel over the old ones whose centre its box holds."""
    scale = before / after
    support = max(scale, 1.0) / 2
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for i in range(after):
        centre = (i + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), before)
        inside = [j for j in range(first, last) if -0.5 < (j - centre + 0.5) / (2 * support) <= 0.5]
        matrix[i, inside] = 1 / len(inside)
    return matrix


def jpeg_compression(x: Tensor, level: float, generators: Generators = ()) -> Tensor:
    """Compress each image as JPEG of quality `level`."""
    images = (x * 255).round().to(torch.uint8).cpu()
    stored = [decode_jpeg(encode_jpeg(image, int(level)), ImageReadMode.RGB) for image in images]
    return torch.stack(stored).to(x) / 255


KINDS: dict[str, Callable[..., Tensor]] = {
    'gaussian_noise': gaussian_noise,
    'shot_noise': shot_noise,
    'impulse_noise': impulse_noise,
    'speckle_noise': speckle_noise,
    'gaussian_blur': gaussian_blur,
    'brightness': brightness,
    'contrast': contrast,
    'saturate': saturate,
    'pixelate': pixelate,
    'jpeg_compression': jpeg_compression,
}
# The levels of severities 1 to 5 of CIFAR-10-C, and those of ImageNet-C.
LEVELS: dict[str, dict[str, tuple[Level, ...]]] = {
    'cifar': {
        'gaussian_noise': (0.04, 0.06, 0.08, 0.09, 0.10),
        'shot_noise': (500, 250, 100, 75, 50),
        'impulse_noise': (0.01, 0.02, 0.03, 0.05, 0.07),
        'speckle_noise': (0.06, 0.1, 0.12, 0.16, 0.2),
        'gaussian_blur': (0.4, 0.6, 0.7, 0.8, 1.0),
        'brightness': (0.05, 0.1, 0.15, 0.2, 0.3),
        'contrast': (0.75, 0.5, 0.4, 0.3, 0.15),
        'saturate': ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
        'pixelate': (0.95, 0.9, 0.85, 0.75, 0.65),
        'jpeg_compression': (80, 65, 58, 50, 40),
    },
    'imagenet': {
        'gaussian_noise': (0.08, 0.12, 0.18, 0.26, 0.38),
        'shot_noise': (60, 25, 12, 5, 3),
        'impulse_noise': (0.03, 0.06, 0.09, 0.17, 0.27),
        'speckle_noise': (0.15, 0.2, 0.35, 0.45, 0.6),
        'gaussian_blur': (1, 2, 3, 4, 6),
        'brightness': (0.1, 0.2, 0.3, 0.4, 0.5),
        'contrast': (0.4, 0.3, 0.2, 0.1, 0.05),
        'saturate': ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
        'pixelate': (0.6, 0.5, 0.4, 0.3, 0.25),
        'jpeg_compression': (25, 18, 15, 10, 7),
    },
}


def corrupt(x: Tensor, kind: str, severity: int, scale: str, ids: Tensor) -> Tensor:
    """Corrupt (N, 3, H, W) pixels in [0, 1].

    Args:
        x: the pixels.
        kind: one of `KINDS`.
        severity: 1 to 5.
        scale: 'cifar' or 'imagenet': whose levels.
        ids: (N,) int64; an id, a kind and a severity always have the same noise.
    """
    place = list(KINDS).index(kind) * 5 + severity - 1
    generators = [torch.Generator().manual_seed(i * 5 * len(KINDS) + place) for i in ids.tolist()]
    return KINDS[kind](x, LEVELS[scale][kind][severity - 1], generators)
