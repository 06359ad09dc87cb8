"""Transform an image and the boxes in it together, by torchvision's v2 transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from openmix.data.decode import as_array
from openmix.data.facts import LARGEST_SIDE
from openmix.data.pipeline import build_pipeline, check_resize
from openmix.errors import InputError, check_number, from_library, message_of
from openmix.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeShortestSide(v2.Transform):
    """Resize an image so that its shorter side has a given length, unless the longer one would exceed a limit.

    Sides are rounded to the nearest pixel. A Pillow image is resized by Pillow, with antialiasing.

    Args:
        size: length of the shorter side in pixels; of several, each image draws one.
        max_size: the longer side is at most as long, and the shorter one then shorter.

    Raises:
        InputError: a length is not in 1..8192.
    """

    def __init__(self, size: int | Sequence[int], max_size: int = 1333) -> None:
        super().__init__()
        self.sizes = [size] if isinstance(size, int) else list(size)
        if not self.sizes:
            raise InputError('ResizeShortestSide: size must name at least one length')
        for length in self.sizes:
            check_number('ResizeShortestSide: size', length, 1, LARGEST_SIDE)
        check_number('ResizeShortestSide: max_size', max_size, 1, LARGEST_SIDE)
        self.max_size = max_size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.functional.get_size(next(one for one in flat_inputs if not _is_plain(one)))
        drawn = self.sizes[int(torch.randint(len(self.sizes), ()))]
        return {'size': list(resized((height, width), drawn, self.max_size))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, params['size'], antialias=True)


def resized(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Compute (H, W) of an image whose shorter side becomes `shortest`, or less so that the other is not too long."""
    scale = shortest / min(size)
    sides = [shortest if side == min(size) else side * scale for side in size]
    if max(sides) > longest:
        shrink = longest / max(sides)
        sides = [side * shrink for side in sides]
    return max(int(sides[0] + 0.5), 1), max(int(sides[1] + 0.5), 1)


def _is_plain(one: Any) -> bool:
    return not isinstance(one, (Image.Image, tv_tensors.TVTensor)) and not (isinstance(one, Tensor) and one.ndim > 2)


def build_box_pipeline(steps: Sequence[dict]) -> list[Callable]:
    """Build the transforms of a recipe's list, see `build_pipeline`, all of which must move boxes along.

    Raises:
        InputError: a name or argument is unknown, or a transform is none of torchvision's v2.
    """
    built = build_pipeline(steps)
    for step in built:
        if not isinstance(step, v2.Transform):
            raise InputError(
                f"pipeline: {type(step).__name__} does not move boxes along with the image; take torchvision's "
                "transforms, as dict(type='torchvision/RandomHorizontalFlip'), or ResizeShortestSide"
            )
    return built


def run_box_pipeline(
    steps: Sequence[Callable], image: Image.Image, boxes: Tensor, path: str = ''
) -> tuple[Tensor, Tensor]:
    """Transform an image and its boxes.

    Args:
        steps: transforms of `build_box_pipeline`.
        image: Pillow image in RGB.
        boxes: (M, 4) float32 corners left, top, right, bottom in pixels.
        path: name of the file, for error lines.

    Returns:
        the image, uint8 (3, H, W), and the boxes (M, 4) in its pixels; a box that was cut off has no area.

    Raises:
        InputError: a transform fails, or its result is no uint8 RGB image.
    """
    marked: Any = tv_tensors.BoundingBoxes(
        boxes, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=(image.height, image.width)
    )
    size = f'an image of {image.height}x{image.width}'
    current: Any = image
    for step in steps:
        if isinstance(step, v2.Resize):
            check_resize(step, current, path)
        try:
            current, marked = step(current, marked)
        except Exception as error:
            if not from_library(error):
                raise
            where = f'{size} ({path})' if path else size
            raise InputError(f'pipeline: {type(step).__name__} fails on {where}: {message_of(error)}') from error
    if isinstance(current, Image.Image):
        current = torch.from_numpy(as_array(current if current.mode == 'RGB' else current.convert('RGB')))
    if not (isinstance(current, Tensor) and current.dtype == torch.uint8 and current.shape[:-2] == (3,)):
        raise InputError('pipeline: a transform must leave a uint8 RGB image; the preprocessor scales and normalises')
    return current.as_subclass(Tensor).contiguous(), marked.as_subclass(Tensor)
