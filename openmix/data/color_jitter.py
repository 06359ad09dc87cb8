"""Colour jitter of a whole batch, on the batch's device."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from openmix.errors import check_number
from openmix.registry import TRANSFORMS

# Weights of red, green and blue in the brightness of a pixel, rounded as in torchvision.
_LUMA = (0.2989, 0.587, 0.114)


def luma(x: Tensor) -> Tensor:
    """Compute the (N, 1, H, W) brightness of (N, 3, H, W) pixels."""
    red, green, blue = x.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def blend(x: Tensor, base: Tensor | float, factor: Tensor, white: float) -> Tensor:
    """Compute factor * x + (1 - factor) * base, clipped to 0..`white`; x is (N, 3, H, W), factors (N,) may exceed 1."""
    factor = factor.view(-1, 1, 1, 1)
    return (factor * x + (1 - factor) * base).clamp_(0, white)


def shift_hue(x: Tensor, shift: Tensor, white: float) -> Tensor:
    """Turn the hue of (N, 3, H, W) pixels in 0..`white` by (N,) parts of a full turn, through HSV.

    Value and saturation stay. The conversion is torchvision's, written as one formula a channel.
    """
    high, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = high - low
    # Grey pixels have no hue; a chroma of 1 keeps it finite.
    red, green, blue = ((high - one[:, None]) / torch.where(chroma > 0, chroma, 1.0) for one in x.unbind(1))
    is_red, is_green = x[:, :1] == high, x[:, 1:2] == high
    sixth = torch.where(is_red, blue - green, torch.where(is_green, 2 + red - blue, 4 + green - red))
    sixth = sixth + 6 * shift.view(-1, 1, 1, 1)
    offset = torch.tensor([5.0, 3.0, 1.0], device=x.device).view(1, 3, 1, 1)
    place = (offset + sixth) % 6
    return (high - chroma * torch.minimum(place, 4 - place).clamp(0, 1)).clamp_(0, white)


@TRANSFORMS.register_module()
class BatchColorJitter(nn.Module):
    """Change brightness, contrast, saturation and hue of each image at random: torchvision's `ColorJitter` for a batch.

    For an argument v, the factor of each image is uniform in [max(0, 1 - v), 1 + v], and the hue is turned by a part of
    a full turn that is uniform in [-v, v].

    *Differs from torchvision*: the order of the four is drawn once per batch, and uint8 is rounded once, at the end.

    Args:
        brightness, contrast, saturation: largest difference of the factor from 1; 0 switches it off.
        hue: largest turn of the hue, at most 0.5; 0 switches it off.
        p: probability that an image is changed at all.

    Raises:
        InputError: one of them is out of range.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__()
        self.strengths = {'brightness': brightness, 'contrast': contrast, 'saturation': saturation, 'hue': hue}
        for name, strength in self.strengths.items():
            check_number(f'BatchColorJitter: {name}', strength, 0.0, 0.5 if name == 'hue' else math.inf)
        check_number('BatchColorJitter: p', p, 0.0, 1.0)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, 3, H, W), uint8 or floating point in [0, 1]; shape and dtype stay."""
        white = 255.0 if x.dtype == torch.uint8 else 1.0
        names = [name for name, strength in self.strengths.items() if strength > 0]
        out = x.float()
        # The order is drawn on the CPU, because it determines which operations run.
        for place in torch.randperm(len(names)).tolist():
            strength = self.strengths[names[place]]
            if names[place] == 'hue':
                turn = torch.empty(len(x), device=x.device).uniform_(-strength, strength)
                out = shift_hue(out, turn, white)
                continue
            factor = torch.empty(len(x), device=x.device).uniform_(max(0.0, 1 - strength), 1 + strength)
            if names[place] == 'brightness':
                base: Tensor | float = 0.0
            elif names[place] == 'contrast':
                base = luma(out).mean((1, 2, 3), keepdim=True)
            else:
                base = luma(out)
            out = blend(out, base, factor, white)
        out = out.round_().to(torch.uint8) if x.dtype == torch.uint8 and names else out.to(x.dtype)
        return out if self.p == 1 else chosen(x, out, self.p)

    def extra_repr(self) -> str:
        return ', '.join(f'{name}={value}' for name, value in [*self.strengths.items(), ('p', self.p)])


def chosen(x: Tensor, changed: Tensor, p: float) -> Tensor:
    """Return (N, C, H, W) `changed` images with probability p each, and those of `x` otherwise."""
    which = torch.rand(len(x), device=x.device) < p
    return torch.where(which.view(-1, 1, 1, 1), changed, x)


@TRANSFORMS.register_module()
class BatchRandomGrayscale(nn.Module):
    """Make each image grey with probability `p`: torchvision's `RandomGrayscale` for a batch.

    Raises:
        InputError: p is not a probability.
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        check_number('BatchRandomGrayscale: p', p, 0.0, 1.0)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, 3, H, W), uint8 or floating point in [0, 1]; shape and dtype stay."""
        grey = luma(x.float())
        grey = (grey.round_() if x.dtype == torch.uint8 else grey).to(x.dtype).expand_as(x)
        return chosen(x, grey, self.p)

    def extra_repr(self) -> str:
        return f'p={self.p}'
