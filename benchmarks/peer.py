"""Import the mixup functions of an OpenMixup checkout, to time them beside openmix's."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import torch

from openmix.errors import InputError

MODULE = 'openmixup.models.augments'


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
    sys.path.insert(0, str(root))
    try:
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
    """Wrap a function so that it gets the size of the images, if it has such an argument."""
    sized = 'size' in inspect.signature(function).parameters
    return lambda x, y: function(x, y, size=tuple(x.shape[2:])) if sized else function(x, y)


def one_line(error: Exception) -> str:
    """Write an error as its type and its message, in one line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())}'
