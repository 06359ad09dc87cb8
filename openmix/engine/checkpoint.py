"""Checkpoints: read them safely, load them strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from openmix.errors import InputError, brief
from openmix.memory import batch_memory_keys, memory_keys, training_keys
from openmix.weights_file import is_finite, kind_of, read_file

# mmengine's HistoryBuffer pickles bound methods, which only an unrestricted unpickler can read back.
HistoryBuffer.__getstate__ = lambda self: {k: v for k, v in self.__dict__.items() if k != 'statistics_methods'}
_PICKLED: list[Any] = [
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    # The functions by which NumPy unpickles an array and a scalar.
    np.zeros(1).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    *(type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'bool')),
]
torch.serialization.add_safe_globals(_PICKLED)

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Meta:
    """The information that a checkpoint stores about its run; None for a field that is not stored.

    Attributes:
        epoch: the epoch, from 0, that the run is in or continues with.
        iteration: number of iterations trained.
        batches: iterations per epoch.
        world_size: number of processes.
        seed: seed of the run.
        launch: see `openmix.engine.restart.launch_id`.
        recipe_hash: see `openmix.config_hash.config_hash`.
        recipe: the resolved recipe as plain data, see `openmix.recipe_text.plain`.
        data: see `openmix.provenance.data_fingerprint`.
        run: the hash of the recipe as it was given, see `openmix.config_hash.config_hash`.
        judged: name of the module in the weights that is the backbone of the evaluated network.
        ends_at: number of iterations after which the run is finished; None also if it may stop early.
    """

    epoch: int | None = None
    iteration: int | None = None
    batches: int | None = None
    world_size: int | None = None
    seed: int | None = None
    launch: str | None = None
    recipe_hash: str | None = None
    recipe: dict[str, Any] | None = None
    data: str | None = None
    run: str | None = None
    judged: str | None = None
    ends_at: int | None = None


# Each field's key in a file, its type and its lowest value.
_META: dict[str, tuple[str, type, int]] = {
    'epoch': ('epoch', int, 0),
    'iteration': ('iter', int, 0),
    'batches': ('batches_per_epoch', int, 1),
    'world_size': ('world_size', int, 1),
    'seed': ('seed', int, 0),
    'launch': ('launch', str, 0),
    'recipe_hash': ('recipe', str, 0),
    'recipe': ('resolved_recipe', dict, 0),
    'data': ('data', str, 0),
    'run': ('run', str, 0),
    'judged': ('judged', str, 0),
    'ends_at': ('ends_at', int, 1),
}


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint, or of a bare state dict, with checked types.

    Attributes:
        path: the file.
        meta: information about the run.
        weights: the raw weights, those that the optimiser updates.
        average: their moving average; None if the run kept none.
        content: the whole content, as mmengine's hooks expect it; with a moving average, `state_dict` is the average
            and `ema_state_dict` has the raw weights.
    """

    path: Path
    meta: Meta
    weights: Weights
    average: Weights | None
    content: dict[str, Any]

    @classmethod
    def parse(cls, content: Any, path: str | Path) -> Checkpoint:
        """Check the content of a file and split it into its parts.

        Raises:
            InputError: a part has the wrong type; the line names it.
        """
        if not isinstance(content, dict):
            raise InputError(f"'{path}' holds a {type(content).__name__}, not a checkpoint")
        weights, average = _weights(content.get('state_dict', content), 'state_dict', path), None
        if 'ema_state_dict' in content:
            state = _weights(content['ema_state_dict'], 'ema_state_dict', path)
            average, weights = (
                weights,
                {key.removeprefix(_OF_MODEL): value for key, value in state.items() if key.startswith(_OF_MODEL)},
            )
        return cls(Path(path), _meta(content.get('meta'), path), weights, average, content)

    def chosen(self, ema: bool) -> Weights:
        """Return the raw weights, or with `ema` their moving average.

        Raises:
            InputError: there is no moving average.
        """
        if not ema:
            return self.weights
        if self.average is None:
            raise InputError(f"'{self.path}' holds no moving average; train with an EMAHook or leave out --ema")
        return self.average


# Prefix of a model's keys in the state of its moving average.
_OF_MODEL = 'module.'


def _weights(found: Any, name: str, path: str | Path) -> Weights:
    if not isinstance(found, Mapping):
        raise InputError(f"'{path}' is not a checkpoint: its {name} is a {type(found).__name__}, not a state dict")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(
                f"'{path}' is not a checkpoint: it holds a {type(value).__name__} under {brief(key)} of its {name}"
            )
    return dict(found)


def _meta(found: Any, path: str | Path) -> Meta:
    if found is None:
        return Meta()
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise InputError(f"'{path}' is not a checkpoint: its meta is a {type(found).__name__}, not a mapping of names")
    values = {}
    for field, (key, kind, low) in _META.items():
        value = found.get(key)
        # Torch's generators accept no seed beyond 63 bits.
        fits = type(value) is kind and (not isinstance(value, int) or low <= value < 2**63)
        if value is not None and not fits:
            raise InputError(f"'{path}' is not a checkpoint: '{key}' of its meta is {brief(value)}")
        values[field] = value
    if not is_plain(values['recipe']):
        raise InputError(f"'{path}' is not a checkpoint: 'resolved_recipe' of its meta is no plain data")
    return Meta(**values)


def is_plain(value: Any) -> bool:
    """Return true if a value is made of what JSON can represent: dicts with string keys, lists, numbers, strings."""
    waiting, seen = [value], set()
    while waiting:
        node = waiting.pop()
        if type(node) in (dict, list):
            if id(node) in seen:  # shared or nested in itself: small in a file, but huge or endless when written out
                return False
            seen.add(id(node))
            if isinstance(node, dict) and not all(type(key) is str for key in node):
                return False
            waiting += node.values() if isinstance(node, dict) else node
        elif node is not None and type(node) not in (bool, int, float, str):
            return False
    return True


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the content of a checkpoint file, on the CPU, as a plain dict.

    Raises:
        InputError: the file is missing, damaged, is not a checkpoint, or would run code when loaded.
    """
    return load_checkpoint(path).content


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file, on the CPU.

    Raises:
        InputError: as `read_checkpoint`.
    """
    if not os.path.lexists(path):
        raise InputError(f"no checkpoint '{path}'")
    if os.path.isdir(path):
        there = ', '.join(sorted(file.name for file in Path(path).glob('*.pth'))[:5]) or 'it has none'
        raise InputError(f"'{path}' is a folder, not a file; name a checkpoint in it ({there})")
    return Checkpoint.parse(read_file(path), path)


def weights_of(checkpoint: dict[str, Any], path: str | Path, ema: bool = False) -> Weights:
    """Return the raw weights in the content of a checkpoint, or with `ema` their moving average.

    Raises:
        InputError: there is no moving average.
    """
    return Checkpoint.parse(checkpoint, path).chosen(ema)


def check_weights(own: Weights, weights: Weights, path: str | Path) -> None:
    """Compare the weights of a file with those of a model.

    Raises:
        InputError: keys, shapes or kinds of numbers differ, and the line names the first few; or a value is not
            finite.
    """
    faults = [f"missing '{k}'" for k in own if k not in weights]
    faults += [f"unknown '{k}'" for k in weights if k not in own]
    faults += [
        f"'{k}' is {tuple(weights[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    faults += [
        f"'{k}' is of {weights[k].dtype}, not {own[k].dtype}"
        for k in own
        if k in weights and kind_of(weights[k]) != kind_of(own[k])
    ]
    if not faults and (spoilt := next((k for k in own if not is_finite(weights[k])), None)) is not None:
        raise InputError(f"'{path}' is damaged: '{spoilt}' in it is not finite; take an older checkpoint")
    if faults:
        more = f' and {len(faults) - 3} more' if len(faults) > 3 else ''
        raise InputError(f"'{path}' is of another model: {'; '.join(faults[:3])}{more}")


def check_state(model: torch.nn.Module, weights: Weights, path: str | Path) -> None:
    """Compare the weights of a file with those of a model that resumes its run.

    What the run remembers of the last batch, see `BatchMemory`, has the sizes that the file says.

    Raises:
        InputError: as `check_weights`.
    """
    own = model.state_dict()
    own |= {key: weights[key] for key in batch_memory_keys(model) if key in weights}
    check_weights(own, weights, path)


def load_weights(model: torch.nn.Module, path: str | Path, ema: bool = False) -> None:
    """Load a checkpoint's weights into a model of the same recipe.

    Raises:
        InputError: the keys or shapes differ, see `check_weights`.
    """
    put_weights(model, read_checkpoint(path), path, ema)


def put_weights(model: torch.nn.Module, checkpoint: dict[str, Any], path: str | Path, ema: bool = False) -> None:
    """Load the weights of a checkpoint's content, which was read from `path`, into a model of the same recipe.

    Raises:
        InputError: the keys or shapes differ, see `check_weights`.
    """
    weights = with_own_training_parts(model, weights_of(checkpoint, path, ema))
    check_weights(model.state_dict(), weights, path)
    model.load_state_dict(weights)


def with_own_training_parts(model: torch.nn.Module, weights: Weights) -> Weights:
    """Complete the weights by what training alone needs as the model has it, for a model that does not resume the run.

    Memories of training images are always the model's own. Other parts, see `training_keys`, are so where the weights
    have none of them, as published ones.
    """
    own, memories, parts = model.state_dict(), memory_keys(model), training_keys(model)
    taken = memories if parts & weights.keys() - memories else parts
    return {key: value for key, value in weights.items() if key not in memories} | {
        key: value for key, value in own.items() if key in taken
    }
