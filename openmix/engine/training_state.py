"""Check the states of optimiser, schedules and logs in a checkpoint before a run is resumed from it.

torch and mmengine load most states unchecked, and fail at the next step or log wrong numbers. Here the structure of
each state is compared with that of the newly built part before any of it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from torch import Tensor

from openmix.engine.checkpoint import Checkpoint, is_plain
from openmix.errors import InputError, brief

State = dict[str, Any]


@dataclass(frozen=True)
class Logs:
    """The state of mmengine's message hub: the newest values of every logged scalar, and the state of hooks.

    Attributes:
        scalars: logged values, by name.
        info: state of hooks as plain data, by name.
        saved: true for each entry that is saved in the next checkpoint.
    """

    scalars: dict[str, HistoryBuffer]
    info: State
    saved: dict[str, bool]

    @classmethod
    def parse(cls, found: Any, path: Any) -> Logs:
        """Check the state of a message hub.

        Raises:
            InputError: a part has the wrong type; the line names it.
        """
        names = ('log_scalars', 'runtime_info', 'resumed_keys')
        if not isinstance(found, Mapping) or not all(isinstance(found.get(name), Mapping) for name in names):
            raise _fault(path, 'message_hub', found)
        scalars, info, saved = (dict(found[name]) for name in names)
        if not all(isinstance(key, str) for part in (scalars, info, saved) for key in part):
            raise _fault(path, 'message_hub', 'a name that is no text')
        for name, value in info.items():
            _check_info(name, value, path)
        for name, flag in saved.items():
            if type(flag) is not bool:
                raise _fault(path, f'message_hub.resumed_keys.{name}', flag)
        return cls({name: _history(name, value, path) for name, value in scalars.items()}, info, saved)

    def as_dict(self) -> State:
        """Return the state dict that mmengine loads."""
        known = {key: flag for key, flag in self.saved.items() if key in self.scalars or key in self.info}
        return {'log_scalars': self.scalars, 'runtime_info': self.info, 'resumed_keys': known}


# Key of the earlier planned lengths of a run in the message hub, and so in every later checkpoint.
EARLIER_PLANS = 'earlier_plans'
# Entries that mmengine's and openmix's hooks use as numbers.
_NUMBERS = ('epoch', 'iter', 'max_epochs', 'max_iters', 'best_score', 'last_line')
# Prefix of the state of hooks that follow a metric, a mapping of numbers each.
_FOLLOWED = 'early_stopping/'
_OF_FOLLOWED = {'iter', 'value', 'best', 'waited'}


def _check_info(name: str, value: Any, path: Any) -> None:
    if name.startswith(_FOLLOWED):
        numbers = isinstance(value, Mapping) and all(type(value.get(key)) in (int, float) for key in _OF_FOLLOWED)
        if not numbers:
            raise _fault(path, f'message_hub.runtime_info.{name}', value)
    plans = isinstance(value, list) and all(isinstance(plan, dict) for plan in value) and is_plain(value)
    if (name in _NUMBERS and type(value) not in (int, float)) or (name == EARLIER_PLANS and not plans):
        raise _fault(path, f'message_hub.runtime_info.{name}', value)


def _history(name: str, found: Any, path: Any) -> HistoryBuffer:
    """Check the values of a scalar, and copy them into a new buffer."""
    state = vars(found) if isinstance(found, HistoryBuffer) else {}
    series = [state.get(key) for key in ('_log_history', '_count_history')]
    arrays = [one for one in series if isinstance(one, np.ndarray) and one.ndim == 1 and one.dtype.kind in 'biuf']
    if len(arrays) != 2 or len(arrays[0]) != len(arrays[1]):
        raise _fault(path, f'message_hub.log_scalars.{name}', found)
    return HistoryBuffer(*arrays)


def check_optimizer(found: Any, own: OptimWrapper, path: Any) -> State:
    """Check an optimiser's state against the optimiser of the run.

    Options, and the state of every parameter, must have the types and shapes of the run's optimiser.

    Raises:
        InputError: they differ; the line names the entry.
    """
    mine = own.state_dict()
    if not isinstance(found, Mapping) or found.keys() != mine.keys():
        raise _fault(path, 'optimizer', found)
    for key in mine.keys() - {'state', 'param_groups'}:
        check_form(found[key], mine[key], f'optimizer.{key}', path)
    groups, of_mine = found['param_groups'], mine['param_groups']
    if not isinstance(groups, list) or len(groups) != len(of_mine):
        raise _fault(path, 'optimizer.param_groups', groups)
    for i, (group, expected) in enumerate(zip(groups, of_mine, strict=True)):
        check_form(group, expected, f'optimizer.param_groups.{i}', path)
        if group['params'] != expected['params']:
            raise _fault(path, f'optimizer.param_groups.{i}.params', group['params'])
    params = dict(zip((n for group in of_mine for n in group['params']), _parameters(own), strict=True))
    states = found['state']
    if not isinstance(states, Mapping) or not all(key in params for key in states):
        raise _fault(path, 'optimizer.state', states)
    kinds: dict[str, set[str]] = {}
    names: dict[int, Any] = {}
    for number, state in states.items():
        place, param = f'optimizer.state.{number}', params[number]
        # Factored optimisers have another state for matrices than for vectors; for equal dimensions the keys are equal.
        if not isinstance(state, Mapping) or state.keys() != names.setdefault(param.dim(), state).keys():
            raise _fault(path, place, state)
        for key, value in state.items():
            kind = _kind_of_state(value, param)
            if not isinstance(key, str) or kind is None or len(kinds.setdefault(key, {kind}) | {kind}) > 1:
                raise _fault(path, f'{place}.{key}', tuple(value.shape) if isinstance(value, Tensor) else value)
    return dict(found)


def _parameters(own: OptimWrapper) -> list[Tensor]:
    return [param for group in own.optimizer.param_groups for param in group['params']]


def _kind_of_state(value: Any, param: Tensor) -> str | None:
    """Classify a state: number, scalar, or tensor with some of the parameter's dimensions; None for anything else."""
    if value is None or type(value) in (bool, int, float):
        return 'number'
    if not isinstance(value, Tensor) or value.is_complex():
        return None
    if value.dim() == 0 and param.dim() > 0:
        return 'scalar'
    dims = iter(param.shape)
    return 'tensor' if all(size in dims for size in value.shape) else None


def check_form(found: Any, own: Any, place: str, path: Any) -> None:
    """Compare a value with one of the run: mappings by keys, lists by length, other values by type.

    An int fits a float, and None fits any value and vice versa, because an option may be set or not.

    Raises:
        InputError: they differ; the line names the first entry that does.
    """
    if isinstance(own, Mapping):
        if not isinstance(found, Mapping) or found.keys() != own.keys():
            raise _fault(path, place, found)
        for key, value in own.items():
            check_form(found[key], value, f'{place}.{key}', path)
    elif isinstance(own, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(own):
            raise _fault(path, place, found)
        for i, value in enumerate(own):
            check_form(found[i], value, f'{place}.{i}', path)
    elif isinstance(own, Tensor):
        if not isinstance(found, Tensor) or found.shape != own.shape or found.is_complex() != own.is_complex():
            raise _fault(path, place, found)
    elif own is None or found is None:
        if found is not None and type(found) not in (bool, int, float, str):
            raise _fault(path, place, found)
    elif not _same_kind(found, own):
        raise _fault(path, place, found)


def _same_kind(found: Any, own: Any) -> bool:
    numbers = (int, float)
    if type(own) in numbers:
        return type(found) in numbers
    return type(found) is type(own)


def _fault(path: Any, place: str, found: Any) -> InputError:
    return InputError(f"'{path}' cannot be resumed: {place} in it is {brief(found)}, which does not fit this run")


def check_parts(checkpoint: Checkpoint) -> None:
    """Check that a checkpoint has all parts that resuming needs.

    Raises:
        InputError: a part is missing; the line names it.
    """
    for key in ('meta', 'optimizer', 'message_hub'):
        if key not in checkpoint.content:
            raise InputError(f"'{checkpoint.path}' holds no '{key}': it can be loaded (load_from), not resumed")
    for key in ('epoch', 'iteration'):
        if getattr(checkpoint.meta, key) is None:
            raise InputError(f"'{checkpoint.path}' does not say its {key}: it can be loaded (load_from), not resumed")
