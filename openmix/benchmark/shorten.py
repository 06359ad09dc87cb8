"""Shorten a training by iteration, for study; all settings in iterations are scaled in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from mmengine.config import Config

from openmix.benchmark.length import length_of
from openmix.errors import InputError

# Arguments of schedules in iterations or epochs.
_COUNTS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
_LOOP = 'train_cfg'
# Keys that also set the length, so that they conflict with `--steps`.
LENGTHS = ('train_cfg.max_iters', 'train_cfg.max_epochs')


def shortened(cfg: Config, steps: int) -> dict[str, Any]:
    """Make the overrides by which a recipe trains `steps` iterations, with as many validations as possible.

    Validation intervals, lengths of schedules and the first iteration of hooks are scaled; factors, such
    as a learning rate or a `gamma`, do not change.

    Raises:
        InputError: the recipe counts epochs, trains fewer iterations, or has a schedule that counts epochs.
    """
    length = length_of(cfg)
    if length is None or length.unit != 'iteration':
        key, told = LENGTHS[1], 'counts epochs' if length else 'states no length'
        raise InputError(
            f'--steps shortens trainings by iteration, and this one {told}; choose other rows or columns, or take '
            f'--cfg-options {key}=N'
        )
    if steps > length.count:
        raise InputError(f'--steps {steps} shortens nothing: the training has {length.count} iterations')
    plain = cfg._cfg_dict.to_dict()
    scale = Fraction(steps, length.count)
    loop = plain[_LOOP]
    found: dict[str, Any] = {LENGTHS[0]: steps, f'{_LOOP}.val_interval': _scaled(loop.get('val_interval', 1000), scale)}
    if 'val_begin' in loop:
        found[f'{_LOOP}.val_begin'] = _scaled(loop['val_begin'], scale)
    if loop.get('dynamic_intervals'):
        changes = _scaled(loop['dynamic_intervals'], scale)
        if isinstance(changes, list) and all(isinstance(change, list) and change for change in changes):
            # If several changes fall on the same iteration, the last one applies.
            changes = list({repr(change[0]): change for change in changes}.values())
        found[f'{_LOOP}.dynamic_intervals'] = changes
    for place, schedule in _parts(plain, 'param_scheduler'):
        counted = [key for key in _COUNTS if schedule.get(key)]
        if counted and schedule.get('by_epoch', True):
            raise InputError(f'--steps: {place}.{counted[0]} counts epochs; say by_epoch=False and count iterations')
        found |= {f'{place}.{key}': _scaled(schedule[key], scale) for key in counted}
    for place, hook in _parts(plain, 'custom_hooks'):
        if hook.get('begin_iter'):
            found[f'{place}.begin_iter'] = _scaled(hook['begin_iter'], scale)
    return found


def _scaled(count: Any, scale: Fraction) -> Any:
    """Scale a positive integer, rounded down but at least 1, or those in a list; return other values unchanged."""
    if isinstance(count, (list, tuple)):
        return [_scaled(each, scale) for each in count]
    # The training itself refuses other values.
    return max(1, int(count * scale)) if type(count) is int and count > 0 else count


def _parts(plain: Mapping[str, Any], key: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Return the dicts of a list in a recipe with their dotted keys; the entry may also be a single dict."""
    parts = plain.get(key) or []
    if isinstance(parts, Mapping):
        return [(key, parts)]
    return [(f'{key}.{i}', part) for i, part in enumerate(parts) if isinstance(part, Mapping)]
