"""`torch.compile` of the backbone, as a recipe asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from openmix.algorithm import Algorithm
from openmix.errors import InputError, check_choice

_BACKENDS = ('inductor', 'aot_eager', 'eager', 'cudagraphs')
# Those that trace the backward pass too: in the others, blocks that run twice would draw and count anew.
_OF_BOTH_PASSES = ('inductor', 'aot_eager')
_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')


def compile_options(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments of `torch.compile` that a recipe's `compile` gives; None where it is off.

    Raises:
        InputError: an unknown backend or mode, or a backend that the mode or `grad_checkpointing` excludes.
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
    """Compile an algorithm's backbone in place, on its first use.

    In place, so that keys of the state dict keep their names. What policies copied of the backbone,
    or copy later, is not compiled. Sites stay: their hooks, not to be compiled, divide the graph.

    Raises:
        InputError: this machine lacks what the backend builds with.
    """
    if options.get('backend', 'inductor') == 'inductor':
        _check_compiler()
    model.backbone.compile(**options)


def _check_compiler() -> None:
    # Only here: they take seconds to import.
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
