"""Weights of a backbone from a local file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.weights_file import is_finite, kind_of, read_file

# What a checkpoint holds its weights under, in timm's order.
_STATE_DICTS = ('state_dict_ema', 'model_ema', 'state_dict', 'model')

_ONLY_WEIGHTS = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


def on_meta() -> bool:
    """True while modules are built on the meta device, which stores no weights."""
    return torch.empty(0).is_meta


@contextmanager
def only_weights() -> Iterator[None]:
    """Inside, `torch.load` reads weights and nothing that runs, also where a library asks for anything else."""
    before = os.environ.get(_ONLY_WEIGHTS)
    os.environ[_ONLY_WEIGHTS] = '1'
    try:
        yield
    finally:
        os.environ.pop(_ONLY_WEIGHTS)
        if before is not None:
            os.environ[_ONLY_WEIGHTS] = before


def load_weights(model: nn.Module, path: str | Path, classifier: Sequence[str] = (), part: str = 'backbone') -> None:
    """Fill `model` from a local file; nothing in the file is executed.

    The file is a .safetensors file or one of `torch.save`: a state dict, or a checkpoint that holds
    one as 'state_dict' or 'model' (averaged weights first, as timm reads it). If it is a whole
    classifier's, with keys under `part`, those are taken. On the meta device nothing is read.

    Args:
        model: what to fill.
        path: the file.
        classifier: module names whose keys the file may have on top of the model's.
        part: what the model is in a whole classifier, 'backbone' or 'head'.

    Raises:
        InputError: no such file, not a file of weights, keys, shapes or kinds of numbers that differ otherwise, or
            numbers that are not finite.
    """
    if on_meta():
        return
    if not os.path.lexists(path):
        raise InputError(f"no file of weights '{path}'; check the path")
    state = _state_in(read_file(path), path)
    prefix = f'{part}.'
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    state = inner or state
    own = model.state_dict()
    # The step counter of batch norm is younger than many published weights and unused here.
    lacking = [key for key in own if key not in state and not key.endswith('num_batches_tracked')]
    heads = tuple(f'{part}.' for part in classifier)
    foreign = [key for key in state if key not in own and not key.startswith(heads)]
    reshaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    # Whole numbers for fractions are codes of a quantized model: copied as they are they are other weights.
    recoded = [key for key in own if key in state and kind_of(state[key]) != kind_of(own[key])]
    wrong = [
        ('lacks', lacking),
        ('has unknown', foreign),
        ('has other shapes of', reshaped),
        ('has other kinds of numbers in', recoded),
    ]
    told = [f'{what} {_few(keys)}' for what, keys in wrong if keys]
    if told:
        raise InputError(f"weights '{path}' do not fit {type(model).__name__}: the file {', '.join(told)}")
    if (spoilt := next((key for key in own if key in state and not is_finite(state[key])), None)) is not None:
        raise InputError(f"weights '{path}' are damaged: '{spoilt}' in the file is not finite; take another copy")
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _state_in(content: Any, path: str | Path) -> dict[str, Tensor]:
    """The state dict of a file: its content, or what timm takes from a checkpoint, averaged weights first."""
    name = ''
    if isinstance(content, Mapping):
        name = next((key for key in _STATE_DICTS if content.get(key) is not None), '')
        content = content[name] if name else content
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not tensors:
        inside = f"its '{name}' is" if name else 'it is'
        raise InputError(f"'{path}' is not a file of plain tensors: {inside} no state dict; save a state_dict() there")
    return clean_state_dict(content)


def _few(keys: Sequence[str]) -> str:
    return ', '.join(keys[:3]) + (f' and {len(keys) - 3} more' if len(keys) > 3 else '')
