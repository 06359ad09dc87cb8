"""Checkpoints: reading them safely, loading them strictly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from openmix.errors import InputError
from openmix.weights_file import read_file

# mmengine's HistoryBuffer pickles bound methods, which only an unrestricted unpickler can read back.
HistoryBuffer.__getstate__ = lambda self: {k: v for k, v in self.__dict__.items() if k != 'statistics_methods'}
_PICKLED: list[Any] = [
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    # How NumPy pickles an array and a scalar.
    np.zeros(1).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    *(type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'bool')),
]
torch.serialization.add_safe_globals(_PICKLED)


def read_checkpoint(path: str | Path) -> dict:
    """The content of a checkpoint file, on the CPU.

    Raises:
        InputError: the file is missing, damaged, is not a checkpoint, or would run code when loaded.
    """
    if not os.path.lexists(path):
        raise InputError(f"no checkpoint '{path}'")
    content = read_file(path)
    if not isinstance(content, dict):
        raise InputError(f"'{path}' holds a {type(content).__name__}, not a checkpoint")
    return content


def weights_of(checkpoint: dict, path: str | Path, ema: bool = False) -> dict[str, Any]:
    """The model's weights in a checkpoint: the raw ones, or their moving average.

    mmengine's EMAHook stores the average as `state_dict` and the raw weights as `ema_state_dict`.

    Raises:
        InputError: the average is asked for and there is none.
    """
    if 'ema_state_dict' in checkpoint:
        if ema:
            return checkpoint['state_dict']
        raw = checkpoint['ema_state_dict']
        return {k.removeprefix('module.'): v for k, v in raw.items() if k.startswith('module.')}
    if ema:
        raise InputError(f"'{path}' holds no moving average; train with an EMAHook or leave out --ema")
    return checkpoint.get('state_dict', checkpoint)


def check_weights(own: dict[str, Any], weights: dict[str, Any], path: str | Path) -> None:
    """Hold the weights of a file against those of a model.

    Raises:
        InputError: the keys or shapes differ; the line names the first few.
    """
    faults = [f"missing '{k}'" for k in own if k not in weights]
    faults += [f"unknown '{k}'" for k in weights if k not in own]
    faults += [
        f"'{k}' is {tuple(weights[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    if faults:
        more = f' and {len(faults) - 3} more' if len(faults) > 3 else ''
        raise InputError(f"'{path}' is of another model: {'; '.join(faults[:3])}{more}")


def load_weights(model: torch.nn.Module, path: str | Path, ema: bool = False) -> None:
    """Load a checkpoint's weights into a model of the same recipe.

    Raises:
        InputError: the keys or shapes differ, see `check_weights`.
    """
    put_weights(model, read_checkpoint(path), path, ema)


def put_weights(model: torch.nn.Module, checkpoint: dict, path: str | Path, ema: bool = False) -> None:
    """`load_weights` of a checkpoint that is read already; `path` is where from.

    Raises:
        InputError: the keys or shapes differ, see `check_weights`.
    """
    weights = weights_of(checkpoint, path, ema)
    check_weights(model.state_dict(), weights, path)
    model.load_state_dict(weights)
