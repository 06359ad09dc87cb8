"""`torch.compile` of the backbone, by a recipe's `compile` setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from openmix.algorithm import Algorithm
from openmix.errors import InputError, check_choice

_BACKENDS = ('inductor', 'aot_eager', 'eager', 'cudagraphs')
# Backends that also trace the backward pass; with others, recomputed blocks would draw new random numbers and update
# statistics again.
_OF_BOTH_PASSES = ('inductor', 'aot_eager')
_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')


def compile_options(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of `torch.compile` in a recipe's `compile`; None if it is off.

    Raises:
        InputError: unknown backend or mode, or a backend that does not support the mode or `grad_checkpointing`.
    """
    asked = recipe.get('compile')
    if asked is None or asked is False:
        return None
    options = {} if asked is True else dict(asked)
    backend = options.get('backend', 'inductor')
    check_choice('compile: backend', backend, _BACKENDS)
    if 'mode' in options:
        check_choice('compile: mode', options['mode'], _MODES)
        if backend != 'inductor':
            raise InputError(f"compile: mode is an option of backend 'inductor', not of '{backend}'; leave out one")
    if (recipe.get('model') or {}).get('grad_checkpointing') and backend not in _OF_BOTH_PASSES:
        named = ' or '.join(map(repr, _OF_BOTH_PASSES))
        raise InputError(f"compile: backend '{backend}' does not go with grad_checkpointing; take {named}")
    return options


def compile_backbone(model: Algorithm, options: Mapping[str, Any]) -> None:
    """Compile an algorithm's backbone in place; it is compiled on its first call.

    In place, so that the keys of the state dict do not change. Copies of the backbone in policies are not
    compiled. Sites work as before: their hooks are not compiled and split the graph.

    Raises:
        InputError: this machine lacks the compiler or Triton that the backend needs.
    """
    if options.get('backend', 'inductor') == 'inductor':
        _check_compiler()
    model.backbone.compile(**options)


def _check_compiler() -> None:
    # Imported here, because it takes seconds.
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton_package

    other = "or train without compile, or with compile=dict(backend='aot_eager')"
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise InputError(f'compile: there is no C++ compiler; install g++ or set CXX, {other}') from error
    if torch.cuda.is_available() and not has_triton_package():
        raise InputError(f'compile: inductor needs triton on a GPU; install it, {other}')
