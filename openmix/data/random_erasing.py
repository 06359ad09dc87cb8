"""Random erasing of a whole batch, on the batch's device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openmix.data.batch_transforms import draw_boxes
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD
from openmix.errors import check_number, check_range
from openmix.ops.boxes import box_mask
from openmix.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BatchRandomErasing(nn.Module):
    """Fill a random box of an image with per-pixel noise, with probability `p` (Zhong et al., 2020).

    *Differs from timm*, which erases after normalisation: pixels stay in [0, 1], so the tails of the noise
    are clipped.

    Args:
        p: probability that an image is erased.
        scale: bounds of the box's fraction of the image's area.
        ratio: bounds of the box's width / height.
        mean, std: mean and standard deviation of the noise, one value per channel, for pixels in [0, 1]; use the
            data set's.

    Raises:
        InputError: an argument is out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        p: float = 0.25,
        scale: Sequence[float] = (0.02, 1 / 3),
        ratio: Sequence[float] = (0.3, 1 / 0.3),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        check_number('BatchRandomErasing: p', p, 0.0, 1.0)
        check_range('BatchRandomErasing: scale', scale, 0.0, 1.0, above=True, equal=True)
        check_range('BatchRandomErasing: ratio', ratio, 0.0, math.inf, above=True, equal=True)
        self.p = p
        self.scale, self.ratio = (scale[0], scale[1]), (ratio[0], ratio[1])
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W), uint8 or floating point in [0, 1]; shape and dtype stay."""
        n, _, height, width = x.shape
        top, left, h, w = draw_boxes(n, height, width, self.scale, self.ratio, x.device)
        erased = torch.rand(n, device=x.device) < self.p
        low, size = torch.stack([top, left], 1), torch.stack([h, w], 1)
        inside = box_mask(low, low + size * erased[:, None], height, width)
        noise = (torch.randn(x.shape, device=x.device) * self.std + self.mean).clamp_(0, 1)
        noise = (noise * 255).round_().to(torch.uint8) if x.dtype == torch.uint8 else noise.to(x.dtype)
        return torch.where(inside, noise, x)

    def extra_repr(self) -> str:
        return f'p={self.p}, scale={self.scale}, ratio={self.ratio}'
