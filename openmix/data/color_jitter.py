"""Colour jitter of a whole batch, on the batch's device."""

from __future__ import annotations

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


@TRANSFORMS.register_module()
class BatchColorJitter(nn.Module):
    """Change brightness, contrast and saturation of each image at random: torchvision's `ColorJitter` for a batch.

    For an argument v, the factor of each image is uniform in [max(0, 1 - v), 1 + v].

    *Differs from torchvision*: the order of the three is drawn once per batch, uint8 is rounded once, at
    the end, and hue is not supported.

    Args:
        brightness, contrast, saturation: largest difference of the factor from 1; 0 switches it off.

    Raises:
        InputError: one of them is negative.
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        super().__init__()
        self.strengths = {'brightness': brightness, 'contrast': contrast, 'saturation': saturation}
        for name, strength in self.strengths.items():
            check_number(f'BatchColorJitter: {name}', strength, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, 3, H, W), uint8 or floating point in [0, 1]; shape and dtype stay."""
        white = 255.0 if x.dtype == torch.uint8 else 1.0
        names = [name for name, strength in self.strengths.items() if strength > 0]
        out = x.float()
        # The order is drawn on the CPU, because it determines which operations run.
        for place in torch.randperm(len(names)).tolist():
            strength = self.strengths[names[place]]
            factor = torch.empty(len(x), device=x.device).uniform_(max(0.0, 1 - strength), 1 + strength)
            if names[place] == 'brightness':
                base: Tensor | float = 0.0
            elif names[place] == 'contrast':
                base = luma(out).mean((1, 2, 3), keepdim=True)
            else:
                base = luma(out)
            out = blend(out, base, factor, white)
        return out.round_().to(torch.uint8) if x.dtype == torch.uint8 and names else out.to(x.dtype)

    def extra_repr(self) -> str:
        return ', '.join(f'{name}={strength}' for name, strength in self.strengths.items())
