"""Weights of a backbone from a local file."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from openmix.errors import InputError


def on_meta() -> bool:
    """Whether modules are being built without storage, so that weights would have nowhere to go."""
    return torch.get_default_device().type == 'meta'


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
        InputError: no such file, not a file of weights, or keys or shapes that differ otherwise.
    """
    if on_meta():
        return
    if not Path(path).is_file():
        raise InputError(f"no file of weights '{path}'; check the path")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except (RuntimeError, EOFError, AttributeError, pickle.UnpicklingError, SafetensorError) as error:
        raise InputError(f"'{path}' is not a file of plain tensors; save a state_dict() there") from error
    prefix = f'{part}.'
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    state = inner or state
    own = model.state_dict()
    # The step counter of batch norm is younger than many published weights and unused here.
    lacking = [key for key in own if key not in state and not key.endswith('num_batches_tracked')]
    heads = tuple(f'{part}.' for part in classifier)
    foreign = [key for key in state if key not in own and not key.startswith(heads)]
    reshaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    wrong = [('lacks', lacking), ('has unknown', foreign), ('has other shapes of', reshaped)]
    told = [f'{what} {_few(keys)}' for what, keys in wrong if keys]
    if told:
        raise InputError(f"weights '{path}' do not fit {type(model).__name__}: the file {', '.join(told)}")
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _few(keys: Sequence[str]) -> str:
    return ', '.join(keys[:3]) + (f' and {len(keys) - 3} more' if len(keys) > 3 else '')
