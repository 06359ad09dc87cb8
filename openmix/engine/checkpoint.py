"""Checkpoints: which a folder holds, reading them with `weights_only=True`, loading them strictly."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from openmix.errors import InputError

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

# The checkpoint between two regular ones, and the file that names the newest.
LATEST, POINTER = 'latest.pth', 'last_checkpoint'
_KINDS = ('epoch_*.pth', 'iter_*.pth', LATEST)


def checkpoints_in(folder: Path) -> list[Path]:
    """The files in a run's folder that training can go on from, last written first."""
    found = {path: path.stat().st_mtime_ns for kind in _KINDS for path in folder.glob(kind)}
    return sorted(found, key=found.__getitem__, reverse=True)


def set_aside(folder: Path) -> list[Path]:
    """Rename the checkpoints of an earlier run, which `--resume` would take for this one's; returns the new names."""
    renamed = [path.replace(path.with_name(f'{path.name}.old')) for path in checkpoints_in(folder)]
    (folder / POINTER).unlink(missing_ok=True)
    return renamed


def last_good(folder: Path) -> str:
    """What there is to go back to, for the end of an error line."""
    newest = next(iter(checkpoints_in(folder)), None)
    return f"the last good checkpoint is '{newest}'" if newest else 'there is no earlier checkpoint'


def newest_intact(folder: Path) -> tuple[Path, dict]:
    """The last written checkpoint of a run that can be read; one line on stderr names each that cannot.

    Raises:
        InputError: there is none.
    """
    for path in checkpoints_in(folder):
        try:
            return path, read_checkpoint(path)
        except InputError as error:
            print(f'warning: passed over: {error}', file=sys.stderr)
    raise InputError(f"nothing to resume in '{folder}'; leave out --resume to start")


def read_checkpoint(path: str | Path) -> dict:
    """The content of a checkpoint file, on the CPU.

    Raises:
        InputError: the file is missing, is not a checkpoint, or would run code when loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint '{path}'")
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (PermissionError, MemoryError) as error:
        raise InputError(f"cannot read '{path}': {error or 'out of memory'}") from error
    except Exception as error:  # an unpickler raises whatever the bytes lead it to
        asked = re.search(r'GLOBAL ([\w.]+)', str(error))
        if asked:
            raise InputError(f"'{path}' is no safe checkpoint: loading it would run {asked[1]}") from error
        raise InputError(f"'{path}' is not a checkpoint: the file is cut short, damaged or of another kind") from error
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
    weights = weights_of(read_checkpoint(path), path, ema)
    check_weights(model.state_dict(), weights, path)
    model.load_state_dict(weights)
