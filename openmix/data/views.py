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
    """Stack the image itself and views with different random draws; must be the last transform of a pipeline.

    Turns a Pillow image, or uint8 (3, H, W), into uint8 (1 + count, 3, H, W), the image first. With
    `torchvision/AugMix` (`all_ops=False`) and two views it makes the three views of AugMix.

    Args:
        transforms: transforms that make a view, as in a pipeline.
        count: number of views beside the image.

    Raises:
        InputError: there is no transform or no view; when called: views have different sizes.
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
    """Make several views of an image, each by its own pipeline; must be the last transform of a pipeline.

    Turns a Pillow image, or uint8 (3, H, W), into uint8 (V, 3, H, W), or into a list of V images (3, H_v, W_v) if
    their sizes differ. The random draws of a view are a function of (seed, epoch, sample, view), independent of the
    other views.

    Args:
        views: one pipeline per view, such as [weak, strong]; an empty one does not change the image.

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
