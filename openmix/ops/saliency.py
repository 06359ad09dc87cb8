"""Fine-grained saliency (Montabone and Soto, 2010) as OpenCV computes it, batched, on CPU or GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from openmix.errors import InputError

_EXACT = 2**24
_REACHES = (12, 24, 48, 28, 56, 112)
_RGB_15_BIT = (9798, 19235, 3735)
_BGR = [float(np.float32(share)) for share in (0.114, 0.587, 0.299)]


def fine_grained_saliency(images: Tensor) -> Tensor:
    """Compute the centre-surround contrast of every pixel over six neighbourhoods, brighter and darker together.

    This is OpenCV's `StaticSaliencyFineGrained`. The gray image, in bytes, is smoothed twice by a 3 x 3
    binomial kernel. For each neighbourhood, the pixel minus the mean of its neighbours is split into a
    positive (on) and a negative (off) part, truncated to bytes. Both are summed over the neighbourhoods
    and stretched to [0, 255]; on + off is the saliency, as a byte. The sum of a pixel that is bright in one
    neighbourhood and dark in another can exceed 255 and wraps around, as in OpenCV.

    Args:
        images: (N, 3, H, W) uint8 RGB, or (N, 1, H, W) uint8 gray.

    Returns:
        (N, H, W) uint8, equal to OpenCV's map of the same image in BGR order.

    Raises:
        InputError: other dtype or shape.
    """
    if images.dtype != torch.uint8:
        raise InputError(f'fine_grained_saliency: images must be uint8, got {images.dtype}; scale them to [0, 255]')
    _check_channels(images)
    gray = images[:, 0].int()
    if images.shape[1] == 3:
        gray = gray * _RGB_15_BIT[0] + (1 << 14)
        gray.add_(images[:, 1], alpha=_RGB_15_BIT[1]).add_(images[:, 2], alpha=_RGB_15_BIT[2])
        gray.bitwise_right_shift_(15)
    # The cost is mostly memory traffic, so use narrow integers; 16 * 255 fits.
    gray = gray.to(torch.int16)
    for _ in range(2):
        gray = _smooth(gray).add_(8).bitwise_right_shift_(4)
    if 255 * gray[0].numel() <= _EXACT:
        # Integers up to this limit are exact in float32, which the means need anyway.
        return _contrast(_windows(_integral(gray, torch.int32).float()), gray, 1.0)
    return _contrast(_rounded_windows(_rounded_integral(gray)), gray, 1.0)


def byte_misread_saliency(images: Tensor) -> Tensor:
    """Compute the map that OpenCV's detector returns for float32 images, whose memory it reads as bytes.

    Published SaliencyMix runs passed normalised float images to it. The gray image then stays float32 and
    its neighbourhood means are right, but each pixel's own value is read as a byte: pixel (y, x)
    takes byte x of row y's memory, which is byte x % 4 of the float at column x // 4.

    Args:
        images: (N, 3, H, W) floating RGB, which the detector takes for BGR, or (N, 1, H, W).

    Returns:
        (N, H, W) uint8, equal to OpenCV 4's map up to 256 x 256 pixels. Above that, OpenCV's float32 integral image
        rounds and this one does not. OpenCV 5.0 rounds its gray image in another order in two of the last columns
        if W % 8 is 4 or more.

    Raises:
        InputError: not floating, or other shape.
    """
    if not images.is_floating_point():
        raise InputError(f'byte_misread_saliency: images must be floating, got {images.dtype}')
    _check_channels(images)
    gray = images.float()
    if gray.shape[1] == 3:
        blue, green, red = (channel.double() * share for channel, share in zip(gray.unbind(1), _BGR))
        # OpenCV adds one channel at a time to a rounded sum; the low bits of that sum are the bytes read below.
        gray = ((green.float() + blue).float() + red).float()
    else:
        gray = gray[:, 0]
    for _ in range(2):
        gray = _smooth(gray) / 16
    # 2 ** 20: a fixed-point sum is exact and, unlike a float cumsum on a GPU, deterministic.
    sums = _integral((gray * 2**20).round().long(), torch.int64)
    return _contrast(_windows(sums), gray.contiguous().view(torch.uint8)[..., : gray.shape[-1]], 2.0**-20)


def _check_channels(images: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InputError(f'saliency: images must be (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}')


def _smooth(gray: Tensor) -> Tensor:
    """Compute 16 times the 3 x 3 binomial average of (N, H, W), mirrored at the borders without repeating the edge."""
    for dim in (2, 1):
        length = gray.shape[dim]
        out = torch.empty_like(gray)
        if length > 2:
            inside = out.narrow(dim, 1, length - 2)
            torch.add(gray.narrow(dim, 0, length - 2), gray.narrow(dim, 2, length - 2), out=inside)
        for edge, beside in ((0, min(1, length - 1)), (length - 1, max(0, length - 2))):
            torch.mul(gray.select(dim, beside), 2, out=out.select(dim, edge))
        gray = out.add_(gray, alpha=2)
    return gray


def _integral(gray: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute the integral image: (N, H + 1, W + 1) sums of all pixels above and left of each corner."""
    sums = gray.cumsum(1, dtype=dtype).cumsum(2, dtype=dtype)
    return torch.nn.functional.pad(sums, (1, 0, 1, 0))


def _rounded_integral(gray: Tensor) -> Tensor:
    """Compute the integral image with OpenCV's rounding: in float32, each row added to the sum of the rows above."""
    sums = gray.cumsum(2, dtype=torch.int32).float()
    for y in range(1, sums.shape[1]):
        sums[:, y].add_(sums[:, y - 1])
    return torch.nn.functional.pad(sums, (1, 0, 1, 0))


def _contrast(window: Callable[[int], Tensor], centre: Tensor, unit: float) -> Tensor:
    """Compute the (N, H, W) uint8 saliency from sums over windows and the pixels' own values.

    Args:
        window: function from a reach to the sums over every pixel's neighbourhood, in multiples of `unit`.
        centre: (N, H, W) the pixels' own values in [0, 255].
        unit: scale of the sums.
    """
    height, width = centre.shape[1:]
    both, net = torch.zeros(2, *centre.shape, dtype=torch.int16, device=centre.device)
    if height * width == 1:
        # A single pixel has no neighbours.
        return both.to(torch.uint8)
    centre = centre.float()
    rows = torch.arange(height, dtype=torch.float32, device=centre.device)
    columns = torch.arange(width, dtype=torch.float32, device=centre.device)
    # Neighbourhoods larger than the image are the whole image: compute them once and count them.
    for reach, times in Counter(min(r, max(height, width)) for r in _REACHES).items():
        total = window(reach)
        others = (_sizes(rows, reach)[:, None] * _sizes(columns, reach)).sub_(1)
        rest = (total - centre.to(total.dtype)).float() if unit == 1 else (total * unit).sub_(centre)
        difference = torch.addcdiv(centre, rest, others, value=-1, out=rest)
        if unit != 1:
            # Means of floats may lie outside [0, 255], and a byte wraps around.
            difference.fmod_(256)
        whole = difference.to(torch.int16)
        net.add_(whole, alpha=times)
        both.add_(whole.abs_(), alpha=times)
    on, off = (both + net) >> 1, (both - net) >> 1
    return _stretch(on).add_(_stretch(off)).to(torch.uint8)


def _windows(sums: Tensor) -> Callable[[int], Tensor]:
    """Make the function from reach to sums over windows, from an exact integral image."""
    return lambda reach: _around(_around(sums, 1, reach), 2, reach)


def _rounded_windows(sums: Tensor) -> Callable[[int], Tensor]:
    """Make the function from reach to sums over windows, from a rounded integral image, in OpenCV's order of terms."""

    def window(reach: int) -> Tensor:
        bottom, top = _edges(sums, 1, reach)
        (bottom_right, bottom_left), (top_right, top_left) = _edges(bottom, 2, reach), _edges(top, 2, reach)
        return (bottom_right + top_left).sub_(bottom_left).sub_(top_right)

    return window


def _edges(sums: Tensor, dim: int, reach: int) -> tuple[Tensor, Tensor]:
    """Select the running sums at the end and at the start of every index's neighbourhood."""
    length = sums.shape[dim] - 1
    at = torch.arange(length, device=sums.device)
    end, begin = (at + (reach + 1)).clamp_max_(length), (at - (reach - 1)).clamp_min_(0)
    return sums.index_select(dim, end), sums.index_select(dim, begin)


def _around(sums: Tensor, dim: int, reach: int) -> Tensor:
    """Compute sums over the neighbourhood of every index from running sums, `length` + 1 of them along `dim`."""
    length = sums.shape[dim] - 1
    end = sums.narrow(dim, length, 1)
    out = torch.empty_like(sums.narrow(dim, 0, length))
    if reach >= length:
        return end.expand_as(out)
    # In turn: neighbourhoods clipped at the start; complete ones, or the whole length; those clipped at the end.
    first, last = sorted((reach, length - reach))
    out.narrow(dim, 0, first).copy_(sums.narrow(dim, reach + 1, first))
    middle, count = out.narrow(dim, first, last - first), last - first
    if reach < length - reach:
        torch.sub(sums.narrow(dim, 2 * reach + 1, count), sums.narrow(dim, 1, count), out=middle)
    else:
        middle.copy_(end.expand_as(middle))
    torch.sub(end, sums.narrow(dim, last - reach + 1, length - last), out=out.narrow(dim, last, length - last))
    return out


def _sizes(at: Tensor, reach: int) -> Tensor:
    """Compute (length,) neighbourhood sizes of all indices `at`, as floats: `reach` - 1 before to `reach` after."""
    return (at + (reach + 1)).clamp_max_(len(at)).sub_((at - (reach - 1)).clamp_min_(0))


def _stretch(sums: Tensor) -> Tensor:
    """Scale (N, H, W) int16 to int32 so that each image's maximum is 255; an image of zeros stays zero."""
    # OpenCV's order and precision: 255 times a rounded quotient, truncated.
    share = sums.float().div_(sums.amax((1, 2), keepdim=True).clamp_min(1))
    return share.double().mul_(255).int()
