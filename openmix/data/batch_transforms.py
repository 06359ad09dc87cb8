"""Random crops and flips of a whole batch, on its device, with separate draws for every sample; no GPU sync."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openmix.data.facts import as_size
from openmix.errors import InputError, check_choice, check_number, check_range
from openmix.ops.precision import full_precision
from openmix.registry import TRANSFORMS

_MODES = ('reflect', 'zero')
_KERNELS = {'bilinear': 1.0, 'bicubic': 2.0}  # half widths in pixels
_TRIES = 10


def shift_crop(x: Tensor, top: Tensor, left: Tensor, mode: str = 'reflect') -> Tensor:
    """Shift each image by its own offset, filling in pixels from outside.

    Args:
        x: (N, C, H, W), any dtype.
        top, left: (N,) int64 position of the result's corner in the image; may be negative. For 'reflect' the
            absolute values are at most H - 1 and W - 1.
        mode: pixels outside the image: 'reflect' mirrors around the border pixel, 'zero' is black.

    Returns:
        (N, C, H, W) in the dtype of `x`.
    """
    n, c, h, w = x.shape
    rows = torch.arange(h, device=x.device) + top[:, None]
    cols = torch.arange(w, device=x.device) + left[:, None]
    if mode == 'reflect':
        rows, cols = _mirror(rows, h), _mirror(cols, w)
        at = rows[:, :, None] * w + cols[:, None, :]
        pixels = x.reshape(n, c, h * w)
    else:
        inside = ((rows >= 0) & (rows < h))[:, :, None] & ((cols >= 0) & (cols < w))[:, None, :]
        # Outside pixels are gathered from one extra black pixel, which is cheaper than filling them afterwards.
        at = torch.where(inside, rows[:, :, None] * w + cols[:, None, :], h * w)
        pixels = nn.functional.pad(x.reshape(n, c, h * w), (0, 1))
    return pixels.gather(2, at.view(n, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)


def _mirror(index: Tensor, length: int) -> Tensor:
    """Fold indices in -(length - 1)..2 (length - 1) back into 0..length - 1, without repeating the border pixel."""
    last = length - 1
    return last - (last - index.abs()).abs()


def flip(x: Tensor, which: Tensor) -> Tensor:
    """Mirror the images of (N, C, H, W) where `which` (N,) bool is true, left to right."""
    at = torch.arange(x.shape[-1], device=x.device)
    at = torch.where(which[:, None], at.flip(0), at)
    return x.gather(3, at[:, None, None].expand_as(x))


def draw_boxes(
    n: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw top, left, height and width of random boxes inside an image, each (n,) int64 on `device`.

    The fraction of the area is uniform in `scale`, and the logarithm of width / height is uniform in that of `ratio`.
    The first of ten draws that fits is taken, else the largest centred box with a ratio in the range
    (Szegedy et al., CVPR 2015, as in torchvision).
    """
    area = height * width * torch.empty(n, _TRIES, device=device).uniform_(*scale)
    aspect = torch.empty(n, _TRIES, device=device).uniform_(math.log(ratio[0]), math.log(ratio[1])).exp()
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    w, h, any_fits = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0], fits.any(1)
    whole_h = min(height, round(width / ratio[0]))
    whole_w = min(width, round(height * ratio[1]))
    u = torch.rand(2, n, device=device)
    h, w = h.clamp(1, height), w.clamp(1, width)
    top = torch.where(any_fits, (u[0] * (height - h + 1)).floor().minimum(height - h), (height - whole_h) // 2)
    left = torch.where(any_fits, (u[1] * (width - w + 1)).floor().minimum(width - w), (width - whole_w) // 2)
    h, w = torch.where(any_fits, h, whole_h), torch.where(any_fits, w, whole_w)
    return top.long(), left.long(), h.long(), w.long()


def resized_crop(
    x: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int],
    interpolation: str = 'bicubic',
) -> Tensor:
    """Crop one box from each image and resize it as Pillow does, antialiased and without pixels from outside the box.

    It uses one matrix product per axis, for boxes of all sizes at once. The result is within one grey level of
    Pillow's, except that Pillow may process the axes in the other order if one grows and the other shrinks.

    Args:
        x: (N, C, H, W), uint8 or floating in [0, 1].
        top, left, height, width: (N,) int64, boxes inside the images.
        size: (H', W') of the result.
        interpolation: 'bilinear' or 'bicubic'.

    Returns:
        (N, C, H', W') in the dtype of `x`.
    """
    rows = _resize_matrix(top, height, x.shape[2], size[0], interpolation)
    cols = _resize_matrix(left, width, x.shape[3], size[1], interpolation)
    white = 255 if x.dtype == torch.uint8 else 1
    # Weights in half precision would give errors of whole grey levels.
    with full_precision(x):
        # Cubic weights overshoot, and Pillow clips after each axis, which affects the result.
        across = (x.float() @ cols.mT[:, None]).clamp_(0, white)
        out = (rows[:, None] @ across).clamp_(0, white)
    return out.round_().to(torch.uint8) if x.dtype == torch.uint8 else out.to(x.dtype)


def _resize_matrix(start: Tensor, length: Tensor, full: int, out: int, interpolation: str) -> Tensor:
    """Compute (N, out, full) float32 weights: row i has the weights of the source pixels for output pixel i."""
    scale = (length.float() / out)[:, None, None]
    stretch = scale.clamp(min=1)
    pixel = torch.arange(full, device=start.device)[None, None]
    centre = (torch.arange(out, device=start.device) + 0.5)[None, :, None] * scale
    own = pixel - start[:, None, None]
    away = ((own + 0.5 - centre) / stretch).abs()
    if interpolation == 'bilinear':
        weight = (1 - away).clamp(min=0)
    else:  # Keys' cubic with a = -1/2
        near = (1.5 * away - 2.5) * away * away + 1
        far = ((-0.5 * away + 2.5) * away - 4) * away + 2
        weight = torch.where(away < 1, near, torch.where(away < _KERNELS['bicubic'], far, 0.0))
    weight = weight * ((own >= 0) & (own < length[:, None, None]))
    return weight / weight.sum(-1, keepdim=True)


@TRANSFORMS.register_module()
class BatchRandomCrop(nn.Module):
    """Pad each image and crop a random window of the original size, drawn for every sample.

    Args:
        padding: pixels on every side.
        mode: 'reflect' or 'zero'.

    Raises:
        InputError: an argument is out of range, or the padding is not smaller than the image.
    """

    def __init__(self, padding: int = 4, mode: str = 'reflect') -> None:
        super().__init__()
        check_choice('BatchRandomCrop: mode', mode, _MODES)
        check_number('BatchRandomCrop: padding', padding, 0)
        self.padding, self.mode = padding, mode

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W); shape and dtype stay."""
        if self.padding >= min(x.shape[2:]):
            raise InputError(
                f'BatchRandomCrop: padding {self.padding} must be smaller than the image, {x.shape[2]}x{x.shape[3]}'
            )
        top, left = torch.randint(-self.padding, self.padding + 1, (2, len(x)), device=x.device)
        return shift_crop(x, top, left, self.mode)

    def extra_repr(self) -> str:
        return f'padding={self.padding}, mode={self.mode!r}'


@TRANSFORMS.register_module()
class BatchRandomFlip(nn.Module):
    """Mirror each image left to right with probability `p`.

    Raises:
        InputError: p is not a probability.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_number('BatchRandomFlip: p', p, 0.0, 1.0)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W); shape and dtype stay."""
        return flip(x, torch.rand(len(x), device=x.device) < self.p)

    def extra_repr(self) -> str:
        return f'p={self.p}'


@TRANSFORMS.register_module()
class BatchRandomResizedCrop(nn.Module):
    """Crop and resize a random box of each image: torchvision's `RandomResizedCrop` for a batch.

    Args:
        size: one side or (H, W) of the result; None: the size of the image.
        scale: bounds of the box's fraction of the image's area.
        ratio: bounds of the box's width / height.
        interpolation: 'bilinear' or 'bicubic', both antialiased as in Pillow.

    Raises:
        InputError: bounds or interpolation are not valid.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
    ) -> None:
        super().__init__()
        check_choice('BatchRandomResizedCrop: interpolation', interpolation, _KERNELS)
        check_range('BatchRandomResizedCrop: scale', scale, 0.0, 1.0, above=True, equal=True)
        check_range('BatchRandomResizedCrop: ratio', ratio, 0.0, math.inf, above=True, equal=True)
        self.size = None if size is None else as_size(size, 'BatchRandomResizedCrop: size')
        self.scale, self.ratio = (scale[0], scale[1]), (ratio[0], ratio[1])
        self.interpolation = interpolation

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, C, H', W') in the same dtype."""
        height, width = x.shape[2:]
        boxes = draw_boxes(len(x), height, width, self.scale, self.ratio, x.device)
        return resized_crop(x, *boxes, self.size or (height, width), self.interpolation)

    def extra_repr(self) -> str:
        return f'size={self.size}, scale={self.scale}, ratio={self.ratio}, interpolation={self.interpolation!r}'
