"""Detect GPU syncs in code without a GPU: tensors on the meta device stand for tensors on the GPU.

Meta tensors have shapes but no values, so code that reads a value fails. As on CUDA, these are syncs: values that
reach the CPU, sizes that depend on values, and copies between pageable memory and the device. Assigning a Python
number to elements of a device tensor is a sync for a single element, and for elements chosen by an index tensor,
because torch copies the number; otherwise it is a fill, which is no sync.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = 'meta'

# Methods that hand values to Python, and functions that make tensors from what Python or NumPy holds.
_READ = {Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__, Tensor.__contains__, Tensor.__bool__}
_READ |= {Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__complex__}
_FROM_HOST = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor, Tensor.new}
# Operators whose result has a size that depends on values, or that look at values to check them.
_SIZED_BY_VALUES = ('nonzero', 'masked_select', 'unique', '_unique', 'equal', 'is_nonzero', '_local_scalar_dense')
_SIZED_BY_VALUES += ('bincount', 'multinomial', 'argwhere')
# Torch draws from a gamma distribution on every device but this one.
_DRAWS = ('_sample_dirichlet', '_standard_gamma')


class Waits(AssertionError):
    """The code has a GPU sync."""


def _on_device(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor) and value.device.type == DEVICE]


def _on_host(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor) and value.device.type == 'cpu']


def _check_index(target: Tensor, index: Any, *value: Any) -> None:
    """`target[index]`, or `target[index] = value`."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, list | range | np.ndarray) or _on_host(part) for part in parts):
        raise Waits('an index of the host is copied to the device')
    if any(part.dim() == 0 for part in _on_device(parts)):
        raise Waits('an index is read from the device')
    if value and isinstance(value[0], Number):
        if _on_device(parts):
            raise Waits('a number is copied to places that an index tensor names; use index_fill or where')
        if target[index].dim() == 0:
            raise Waits('a number is copied to a single place of the device; use fill_')


class _Calls(TorchFunctionMode):
    """Intercept the torch functions that Python calls."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', str(func))
        if func in _READ and _on_device(args[0]):
            raise Waits(f'{name}: a value of the device is read on the host')
        if func in (Tensor.__getitem__, Tensor.__setitem__) and _on_device(args[0]):
            _check_index(*args)
        try:
            result = func(*args, **(kwargs or {}))
        except (RuntimeError, NotImplementedError) as error:
            if DEVICE not in str(error).lower():
                raise
            raise Waits(f'{name} needs a value of the device, or mixes devices: {error}') from error
        if func in _FROM_HOST and _on_device(result) and not _on_device(args[:1] if func is torch.as_tensor else ()):
            raise Waits(f'{name}: data of the host is copied to the device')
        return result


class _Operators(TorchDispatchMode):
    """Intercept the operators that torch runs, also within composite functions and the backward pass."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(func).removeprefix('aten.')
        here, there = _on_device((args, kwargs)), _on_host((args, kwargs))
        if here and name.startswith(_SIZED_BY_VALUES):
            raise Waits(f'{name} looks at values of the device')
        places = _on_device(args[1]) if here and name.startswith('index') else []
        if any(at.dtype in (torch.bool, torch.uint8) for at in places):
            raise Waits(f'{name} by a mask has a size that depends on values of the device')
        # A number of the host travels with the call; a tensor is copied.
        if here and any(each.dim() or name.startswith('copy') for each in there):
            raise Waits(f'{name} copies between host and device')
        if name.startswith(_DRAWS) and here:
            return torch.empty_like(args[0])
        result = func(*args, **kwargs)
        if not here and there and _on_device(result):
            raise Waits(f'{name} copies from the host to the device')
        if here and _on_host(result):
            raise Waits(f'{name} copies from the device to the host')
        return result


@contextmanager
def no_waits() -> Iterator[None]:
    """Raise `Waits` at a GPU sync in the code inside."""
    with _Operators(), _Calls():
        yield
