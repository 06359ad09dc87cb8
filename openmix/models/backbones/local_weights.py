"""Load the weights of a backbone or head from a local file."""

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

# The keys under which checkpoints store a state dict, in timm's order.
_STATE_DICTS = ('state_dict_ema', 'model_ema', 'state_dict', 'model')

_ONLY_WEIGHTS = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


def on_meta() -> bool:
    """Return true while modules are built on the meta device, which stores no weights."""
    return torch.empty(0).is_meta


@contextmanager
def only_weights() -> Iterator[None]:
    """Force `weights_only=True` on every `torch.load` inside, also where a library passes another value."""
    before = os.environ.get(_ONLY_WEIGHTS)
    os.environ[_ONLY_WEIGHTS] = '1'
    try:
        yield
    finally:
        os.environ.pop(_ONLY_WEIGHTS)
        if before is not None:
            os.environ[_ONLY_WEIGHTS] = before


def load_weights(model: nn.Module, path: str | Path, classifier: Sequence[str] = (), part: str = 'backbone') -> None:
    """Load the weights of `model` from a local file; no code in the file is executed.

    The file is a .safetensors file or one of `torch.save`: a state dict, or a checkpoint that holds
    one as 'state_dict' or 'model' (averaged weights first, as in timm). If it holds a whole classifier,
    only the keys that start with `part` are loaded. On the meta device nothing is read.

    Args:
        model: the module to load the weights into.
        path: the file.
        classifier: names of modules whose keys the file may have although the model has not.
        part: the name of the model within a whole classifier, 'backbone' or 'head'.

    Raises:
        InputError: there is no such file, it is not a file of weights, its keys, shapes or kinds of numbers
            differ from the model's, or it has numbers that are not finite.
    """
    if on_meta():
        return
    if not os.path.lexists(path):
        raise InputError(f"no file of weights '{path}'; check the path")
    load_state(model, state_in(read_file(path), path), path, classifier, part)


def load_state(
    model: nn.Module, state: dict[str, Tensor], path: str | Path, classifier: Sequence[str] = (), part: str = 'backbone'
) -> None:
    """Load weights of `model` that were read from a file; arguments and errors are those of `load_weights`."""
    prefix = f'{part}.'
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    state = inner or state
    own = model.state_dict()
    # Batch norm's step counter is missing from many older published weights, and is not used here.
    lacking = [key for key in own if key not in state and not key.endswith('num_batches_tracked')]
    heads = tuple(f'{part}.' for part in classifier)
    foreign = [key for key in state if key not in own and not key.startswith(heads)]
    reshaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    # Integers where the model has floats are codes of a quantised model; copying them would give wrong weights.
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


def state_in(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Find the state dict in a file's content: the content itself, or the entry that timm would take from it."""
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
