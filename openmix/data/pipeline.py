"""Pipelines of transforms of single images: torchvision's v2 as `torchvision/Name`, mmcv's by their own names."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from openmix.data.decode import as_array
from openmix.data.facts import LARGEST_SIDE
from openmix.data.read import check_grown
from openmix.errors import InputError, check_number, from_library, nearest
from openmix.registry import TRANSFORMS, find

# Arguments in pixels, whose values are limited, because a huge image would exhaust the memory.
_LENGTHS = ('size', 'crop_size', 'scale', 'padding')
_LOADERS = ('LoadImageFromFile', 'LoadAnnotations')

for _name, _cls in inspect.getmembers(v2, inspect.isclass):
    # OpenMix's own RandomResizedCrop is in `resized_crop`.
    if issubclass(_cls, v2.Transform) and _cls is not v2.RandomResizedCrop:
        TRANSFORMS.register_module(name=f'torchvision/{_name}', module=_cls)


def build_pipeline(steps: Sequence[dict]) -> list[Callable]:
    """Build the transforms of a recipe's list, including nested lists, as in `torchvision/RandomApply`.

    `interpolation` may be given by name, as in 'bicubic'.

    Raises:
        InputError: a name or an argument is unknown.
    """
    return [_build(dict(step)) for step in steps]


def _build(step: dict) -> Callable:
    name = step.get('type')
    if name in _LOADERS:
        raise InputError(f"pipeline: the data set loads the images itself; remove '{name}'")
    find(TRANSFORMS, name)
    for key in _LENGTHS:
        for length in step[key] if isinstance(step.get(key), (list, tuple)) else [step.get(key)]:
            if isinstance(length, int) and not isinstance(length, bool):
                check_number(f'{name}: {key}', length, -LARGEST_SIDE, LARGEST_SIDE)
    if isinstance(step.get('interpolation'), str):
        modes = [mode.value for mode in InterpolationMode]
        if step['interpolation'] not in modes:
            raise InputError(
                f"{name}: unknown interpolation '{step['interpolation']}'; {nearest(step['interpolation'], modes)}"
            )
        step['interpolation'] = InterpolationMode(step['interpolation'])
    if 'transforms' in step:
        step['transforms'] = [_build(dict(inner)) for inner in step['transforms']]
    if 'views' in step:
        step['views'] = [[_build(dict(inner)) for inner in view] for view in step['views']]
    try:
        return TRANSFORMS.build(step)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise InputError(f'{name}: {" ".join(str(error).split()) or type(error).__name__}') from error


def run_pipeline(steps: Sequence[Callable], image: Image.Image | Tensor, label: int = -1, path: str = '') -> Tensor:
    """Transform an image, see `run_views`; return uint8 (3, H, W) or (V, 3, H, W).

    Raises:
        InputError: the result has views of several sizes.
    """
    found = run_views(steps, image, label, path)
    if isinstance(found, list):
        raise InputError(f'pipeline: {len(found)} views of several sizes cannot be used here; give them one size')
    return found


def run_views(
    steps: Sequence[Callable], image: Image.Image | Tensor, label: int = -1, path: str = ''
) -> Tensor | list[Tensor]:
    """Apply all transforms to an image.

    mmcv's transforms get a dict with the image under 'img' as RGB (H, W, 3); all others get the image itself, as a
    Pillow image or a tensor, uint8 (3, H, W).

    Returns:
        uint8 (3, H, W), or (V, 3, H, W) if the last transform makes V views, or a list of V views if their sizes
        differ.

    Raises:
        UnreadableImage: the image is so narrow that a resize of its shorter side would exhaust the memory.
        InputError: a transform fails on the image, or the result is not a uint8 RGB image.
    """
    from mmcv.transforms import BaseTransform

    current: Any = image
    for step in steps:
        if isinstance(step, v2.Resize):
            check_resize(step, current, path)
        try:
            if isinstance(step, BaseTransform):
                pixels = _to_tensor(current).permute(1, 2, 0).contiguous().numpy()
                results = step(
                    {'img': pixels, 'img_shape': pixels.shape[:2], 'ori_shape': pixels.shape[:2]}
                    | {'gt_label': label, 'img_path': path}
                )
                current = results.get('img') if isinstance(results, dict) else None
            else:
                current = step(_to_tensor(current) if isinstance(current, np.ndarray) else current)
        except Exception as error:
            if not from_library(error):
                raise
            size = 'an image of {}x{}'.format(*v2.functional.get_size(image)) + (f' ({path})' if path else '')
            raise InputError(
                f'pipeline: {type(step).__name__} fails on {size}: {" ".join(str(error).split())[:200]}'
            ) from error
    return [_to_tensor(view) for view in current] if isinstance(current, list) else _to_tensor(current)


def check_resize(step: v2.Resize, image: Any, path: str) -> None:
    """Check that resizing the shorter side of an image does not make the longer one exhaust the memory.

    Raises:
        UnreadableImage: it does.
    """
    if not isinstance(step.size, (list, tuple)) or len(step.size) != 1 or step.max_size is not None:
        return
    height, width = v2.functional.get_size(image if not isinstance(image, np.ndarray) else _to_tensor(image))
    short, long = sorted((height, width))
    grown = step.size[0], step.size[0] * long // max(short, 1)
    check_grown(path, (height, width), grown if height < width else grown[::-1])


def _to_tensor(image: Any) -> Tensor:
    """Convert an image in any form that a transform may return to uint8 (3, H, W), or (V, 3, H, W) for views."""
    if isinstance(image, Image.Image):
        return torch.from_numpy(as_array(image if image.mode == 'RGB' else image.convert('RGB')))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim in (3, 4) and image.shape[-3] == 3:
        return image.as_subclass(Tensor)
    got = f'{tuple(image.shape)} {image.dtype}' if hasattr(image, 'dtype') else type(image).__name__
    raise InputError(
        f'pipeline: a transform must leave a uint8 RGB image, got {got}; the preprocessor scales and normalises'
    )


@contextmanager
def kept_generators() -> Iterator[None]:
    """Restore the CPU random states of torch, NumPy and Python at the end."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def seed_generators(seed: int, epoch: int, sample: int) -> None:
    """Seed the CPU generators of torch, NumPy and Python by (seed, epoch, sample)."""
    words = np.random.SeedSequence((seed, epoch, sample)).generate_state(4)
    torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])
    random.seed(int(words[3]))
