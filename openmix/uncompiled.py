"""Keep `torch.compile` out of a function, without importing the compiler."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec('P')
R = TypeVar('R')


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it runs as written, and with it what it calls, compiled modules included.

    A compiled module silently skips a hook that was registered after it was compiled. `torch.compiler.disable` does not
    change that, and as a decorator it imports the compiler, which takes a second of CPU, where the function is defined.
    """

    def eager(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.compiler.set_stance('force_eager'):
            return function(*args, **kwargs)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # What has not been imported compiles nothing.
        if 'torch._dynamo' not in sys.modules:
            return function(*args, **kwargs)
        return torch.compiler.disable(eager)(*args, **kwargs)

    return run
