"""Several views of one image, for losses that compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from openmix.data.pipeline import run_pipeline, seed_generators
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


@TRANSFORMS.register_module()
class MultiView:
    """Several views of an image, each by a pipeline of its own: the last transform of a pipeline.

    Pillow's image, or uint8 (3, H, W), to uint8 (V, 3, H, W), or to a list of V images (3, H_v, W_v) where their sizes
    differ. The draws of a view are a function of (seed, epoch, sample, view), whatever the other views draw.

    Args:
        views: a pipeline for each view, such as [weak, strong]; an empty one leaves the image as it is.

    Raises:
        InputError: there is no view.
    """

    def __init__(self, views: Sequence[Sequence[Annotated[Callable, Built(TRANSFORMS)]]]) -> None:
        if not views:
            raise InputError('MultiView: views must hold at least one pipeline')
        self.views = [list(view) for view in views]

    def __call__(self, image: Any) -> Tensor | list[Tensor]:
        drawn = int(torch.randint(2**31, ()))
        found = []
        for number, steps in enumerate(self.views):
            seed_generators(drawn, 0, number)
            found.append(run_pipeline(steps, image))
        return torch.stack(found) if len({view.shape for view in found}) == 1 else found
