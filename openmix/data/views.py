"""Several views of one image, for losses that compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from openmix.data.pipeline import run_pipeline
from openmix.errors import InputError, check_number
from openmix.registry import TRANSFORMS, Built


@TRANSFORMS.register_module()
class StackViews:
    """The image as it is, and some views of it with draws of their own: the last transform of a pipeline.

    Pillow's image, or uint8 (3, H, W), to uint8 (1 + count, 3, H, W), the image first. AugMix's
    three views are those of `torchvision/AugMix` with `all_ops=False`.

    Args:
        transforms: what makes a view, as in a pipeline.
        count: views beside the image.

    Raises:
        InputError: no transform or no view; when called, views of different sizes.
    """

    def __init__(self, transforms: Sequence[Annotated[Callable, Built(TRANSFORMS)]], count: int = 2) -> None:
        check_number('StackViews: count', count, 1, 64)
        if not transforms:
            raise InputError('StackViews: transforms must name at least one transform')
        self.transforms, self.count = list(transforms), count

    def __call__(self, image: Any) -> Tensor:
        views = [run_pipeline([], image), *(run_pipeline(self.transforms, image) for _ in range(self.count))]
        shapes = sorted({tuple(view.shape) for view in views})
        if len(shapes) > 1:
            raise InputError(
                f'StackViews: views of {shapes[0][1:]} and {shapes[-1][1:]} of one image; '
                'put what changes the size before'
            )
        return torch.stack(views)
