"""Import the mixup functions of an OpenMixup checkout, to time them beside openmix's.

Only these functions are imported. The packages around them import all of its networks, and with them mmcv-full 1.x; so
they are entered as empty packages, and the one of helpers with the two that the functions call.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import torch
from timm.layers import to_2tuple

from openmix.errors import InputError

MODULE = 'openmixup.models.augments'
HELPERS = 'openmixup.models.utils'
# What the toolbox's configs set, where the default does not fit small images.
OPTIONS: dict[str, dict] = {'gridmix': dict(n_holes=(2, 6), cut_area_ratio=(0.5, 1), cut_aspect_ratio=(0.5, 2))}


def import_peer(path: str) -> ModuleType:
    """Import OpenMixup's module of mixup functions.

    Args:
        path: the checkout.

    Raises:
        InputError: there is no such package, or it cannot be imported.
    """
    root = Path(path).resolve()
    if not (root / 'openmixup').is_dir():
        raise InputError(f"--peer: no folder 'openmixup' in '{path}'; name a checkout of OpenMixup")
    try:
        for name in ('openmixup', 'openmixup.models', HELPERS):
            package = sys.modules[name] = ModuleType(name)
            package.__path__ = [str(root.joinpath(*name.split('.')))]
        if (root / 'openmixup/models/utils').is_dir():
            shuffle = importlib.import_module(f'{HELPERS}.gather_layer').batch_shuffle_ddp
            vars(sys.modules[HELPERS]).update(batch_shuffle_ddp=shuffle, to_2tuple=to_2tuple)
        return importlib.import_module(MODULE)
    except Exception as error:  # importing the peer may raise any exception
        raise InputError(f"--peer: {MODULE} of '{path}' cannot be imported: {one_line(error)}") from error


def peer_functions(module: ModuleType, names: Iterable[str]) -> dict[str, Callable]:
    """Return the peer's functions with the names of these policies in lower case, each as f(images, labels).

    Raises:
        InputError: there is no such function, or one does not run.
    """
    if not torch.cuda.is_available():
        # The peer's functions always move their permutation to a GPU.
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    functions = {name: _call(getattr(module, name.lower())) for name in names if hasattr(module, name.lower())}
    if not functions:
        raise InputError(f'--peer: {MODULE} has no function named as one of our policies')
    for name, function in functions.items():
        try:
            function(torch.rand(4, 3, 32, 32), torch.arange(4))
        except Exception as error:
            raise InputError(f"--peer: the peer's {name.lower()} does not run: {one_line(error)}") from error
    return functions


def _call(function: Callable) -> Callable:
    """Wrap a function so that it gets its options, and the size of the images if it has such an argument."""
    sized, options = 'size' in inspect.signature(function).parameters, OPTIONS.get(function.__name__, {})
    return lambda x, y: function(x, y, **options, **({'size': tuple(x.shape[2:])} if sized else {}))


def one_line(error: Exception) -> str:
    """Write an error as its type and its message, in one line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())}'
