"""Check the tensors that a policy or a loss is given, and raise a one-line `InputError` where they do not fit.

Values are read only from CPU tensors: reading them from a GPU would cost a GPU sync.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from openmix.errors import InputError


def what(value: Any) -> str:
    """Describe a value in an error message: a tensor by its dtype and shape, anything else by its type."""
    if isinstance(value, Tensor):
        return f'a {str(value.dtype).removeprefix("torch.")} tensor of {tuple(value.shape)}'
    return f'a {type(value).__name__}'


def readable(x: Tensor) -> bool:
    """Return true if the values of `x` can be read without a GPU sync: a CPU tensor that is not empty."""
    return x.is_cpu and x.numel() > 0 and not torch.compiler.is_compiling()


def check_floating(where: str, x: Any) -> None:
    """Raise an `InputError` unless `x` is a floating-point tensor, batch first, with at least one sample.

    Args:
        where: class and argument for the message, as in 'CutMix: the batch'.
        x: the value to check.
    """
    if isinstance(x, (list, tuple)) and x and all(isinstance(one, Tensor) for one in x):
        sizes = sorted({tuple(one.shape) for one in x})
        told = f'of sizes that differ: {sizes[0]} and {sizes[1]}; resize them first' if len(sizes) > 1 else 'stack them'
        raise InputError(f'{where} must be one tensor, got {len(x)} tensors {told}')
    if not isinstance(x, Tensor):
        raise InputError(f'{where} must be a tensor, got {what(x)}')
    if not x.is_floating_point():
        hint = '; scale it to [0, 1] and normalise first, as in x.float() / 255' if x.dtype == torch.uint8 else ''
        raise InputError(f'{where} must be floating, got {what(x)}{hint}')
    if x.dim() < 2 or not len(x):
        raise InputError(f'{where} must be (N, ...) of at least one sample, got {what(x)}')


def check_rgb(where: str, x: Tensor) -> None:
    """Raise an `InputError` unless `x` is a batch of images with three channels.

    Args:
        where: class for the message.
        x: the batch.
    """
    if x.dim() != 4 or x.shape[1] != 3:
        raise InputError(f'{where}: images must be (N, 3, H, W), got {what(x)}; repeat the channel of grey images')


def check_labels(where: str, y: Any, classes: int | None = None) -> None:
    """Raise an `InputError` unless `y` is (M,) int64 labels or (M, C) floating class probabilities.

    Args:
        where: class or function for the message.
        y: the value to check.
        classes: C, if known; labels are compared with it if they can be read without a GPU sync.
    """
    if not isinstance(y, Tensor) or y.dim() not in (1, 2) or y.is_floating_point() != (y.dim() == 2):
        raise InputError(f'{where}: labels must be (M,) int64 or (M, C) class probabilities, got {what(y)}')
    if y.dim() == 1 and y.dtype != torch.int64:
        raise InputError(f'{where}: labels must be int64, got {what(y)}; call labels.long()')
    if y.dim() == 2 and classes is not None and y.shape[1] != classes:
        raise InputError(f'{where}: labels of {y.shape[1]} classes do not fit logits of {classes}')
    if y.dim() == 1 and readable(y):
        low, high = int(y.amin()), int(y.amax())
        if low < 0 or (classes is not None and high >= classes):
            allowed = 'must not be negative' if classes is None else f'must be in [0, {classes - 1}]'
            raise InputError(f'{where}: labels {allowed}, got {low if low < 0 else high}')


def check_places(where: str, places: Any, x: Tensor) -> None:
    """Raise an `InputError` unless `places` is (N,) int64 row indices into `x`, with 0 < N <= M.

    Args:
        where: class and argument for the message.
        places: the value to check.
        x: (M, ...) the batch.
    """
    if not isinstance(places, Tensor) or places.dim() != 1 or places.dtype != torch.int64:
        raise InputError(f'{where} must be (N,) int64, got {what(places)}')
    if places.device != x.device:
        raise InputError(f'{where} must be on {x.device} as the batch is, not on {places.device}')
    if not 0 < len(places) <= len(x):
        raise InputError(f'{where} must be at least 1 and at most {len(x)}, the batch; got {len(places)}')
    if readable(places) and (int(places.amin()) < 0 or int(places.amax()) >= len(x)):
        raise InputError(f'{where} must be in [0, {len(x) - 1}], got {int(places.amin())} to {int(places.amax())}')
