"""torchvision's RandomResizedCrop on the pixels of a decoded file, and the flips after it."""

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


# In the place of torchvision's own, which is the same but slower.
@TRANSFORMS.register_module(name='torchvision/RandomResizedCrop')
class RandomResizedCrop(v2.RandomResizedCrop):
    """torchvision's transform, in half its time for a tensor (3, H, W) whose channels are interleaved."""

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        if type(inpt) is not Tensor or inpt.ndim != 3 or inpt.stride(0) != 1:
            return super().transform(inpt, params)
        window = v2.functional.crop(inpt, **params).permute(1, 2, 0)
        # torch resizes a copy in one piece faster than a window of the image.
        whole = window.contiguous().permute(2, 0, 1)
        if whole.dtype == torch.uint8 and self.interpolation in _ON_BYTES and self.antialias is True:
            # torchvision goes by float32 on some processors, and rounds otherwise there.
            mode = self.interpolation.value
            return F.interpolate(whole[None], self.size, mode=mode, align_corners=False, antialias=True)[0]
        return v2.functional.resize(whole, self.size, self.interpolation, antialias=self.antialias)


def steps_on_pixels(steps: Sequence[Callable]) -> int:
    """The number of first transforms that run faster on a uint8 tensor, with the draws they make on Pillow's image.

    These are a `torchvision/RandomResizedCrop`, bilinear or bicubic, and the flips after it. torch resizes as Pillow
    before version 13 does, within two levels of 255; Pillow 13 resizes some crops down first, then across.
    """
    crop = steps[0] if steps else None
    if not isinstance(crop, RandomResizedCrop) or crop.antialias is not True:
        return 0
    if getattr(crop.interpolation, 'value', crop.interpolation) not in ('bilinear', 'bicubic'):
        return 0
    return 1 + sum(1 for _ in itertools.takewhile(lambda step: isinstance(step, _FLIPS), steps[1:]))
