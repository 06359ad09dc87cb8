"""A faster RandomResizedCrop of torchvision for decoded pixels, and the detection of pipelines that can use it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from openmix.registry import TRANSFORMS

_ON_BYTES = (v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC)
_FLIPS = (v2.RandomHorizontalFlip, v2.RandomVerticalFlip)


# Registered instead of torchvision's own, which gives the same result but is slower.
@TRANSFORMS.register_module(name='torchvision/RandomResizedCrop')
class RandomResizedCrop(v2.RandomResizedCrop):
    """torchvision's transform, twice as fast for a tensor (3, H, W) with interleaved channels."""

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        if type(inpt) is not Tensor or inpt.ndim != 3 or inpt.stride(0) != 1:
            return super().transform(inpt, params)
        window = v2.functional.crop(inpt, **params).permute(1, 2, 0)
        # torch resizes a contiguous copy faster than a view.
        whole = window.contiguous().permute(2, 0, 1)
        if whole.dtype == torch.uint8 and self.interpolation in _ON_BYTES and self.antialias is True:
            # torchvision converts to float32 on some processors, with different rounding.
            mode = self.interpolation.value
            return F.interpolate(whole[None], self.size, mode=mode, align_corners=False, antialias=True)[0]
        return v2.functional.resize(whole, self.size, self.interpolation, antialias=self.antialias)


def steps_on_pixels(steps: Sequence[Callable]) -> int:
    """Count the leading transforms that are faster on a uint8 tensor and draw the same random numbers as on an image.

    These are a `torchvision/RandomResizedCrop`, bilinear or bicubic, and the flips after it. torch's resize agrees with
    that of Pillow before version 13 within two levels of 255; Pillow 13 resizes some crops vertically first.
    """
    crop = steps[0] if steps else None
    if not isinstance(crop, RandomResizedCrop) or crop.antialias is not True:
        return 0
    if getattr(crop.interpolation, 'value', crop.interpolation) not in ('bilinear', 'bicubic'):
        return 0
    return 1 + sum(1 for _ in itertools.takewhile(lambda step: isinstance(step, _FLIPS), steps[1:]))
