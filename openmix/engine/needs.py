"""Add the hooks that every training needs to a recipe's list of hooks, and check that list."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.hooks import DistSamplerSeedHook, IterTimerHook
from mmengine.runner.priority import get_priority

from openmix.engine.algorithm_hook import AlgorithmHook
from openmix.engine.buffers import RankZeroBuffersHook
from openmix.engine.checkpoint_hook import CheckpointHook
from openmix.engine.early_stopping import EarlyStoppingHook
from openmix.engine.ema_hook import EMAHook
from openmix.engine.finite import FiniteLossHook
from openmix.engine.logger_hook import LoggerHook
from openmix.engine.read_back import RuntimeInfoHook
from openmix.engine.results import ResultHook
from openmix.engine.schedules import ParamSchedulerHook
from openmix.engine.seeding import StepSeedHook
from openmix.errors import InputError
from openmix.registry import HOOKS, find

# In this order; configs/_base_/runtime.py lists them too, so that a recipe can set their arguments by place.
_NEEDED = (StepSeedHook, AlgorithmHook, RankZeroBuffersHook, FiniteLossHook, ResultHook)
# Hooks that a recipe may have only once.
_ONCE = (*_NEEDED, CheckpointHook, EMAHook, IterTimerHook, LoggerHook, ParamSchedulerHook, RuntimeInfoHook)
# The hooks that are registered by default, by key of `default_hooks`.
_DEFAULTS: dict[str, type] = {
    'runtime_info': RuntimeInfoHook,
    'timer': IterTimerHook,
    'logger': LoggerHook,
    'param_scheduler': ParamSchedulerHook,
    'checkpoint': CheckpointHook,
    'sampler_seed': DistSamplerSeedHook,
}
# Keys of hooks that cannot be replaced: without them losses are not recorded, and schedules have no effect.
_STAYS = ('runtime_info', 'param_scheduler')


def complete_hooks(cfg: Config) -> None:
    """Add the hooks that a training needs and its recipe does not list, in place.

    Each is inserted after the hooks that precede it in `configs/_base_/runtime.py`, so that a recipe that replaces
    the list has the same order of hooks as one that extends it.

    Raises:
        InputError: the recipe turns off a necessary default hook, or has a hook twice that may be there only once.
    """
    given = dict(cfg.get('default_hooks') or {})
    _check_defaults(cfg, given)
    _check_kinds(given)
    custom = list(cfg.get('custom_hooks') or [])
    kinds = [find(HOOKS, hook['type']) for hook in custom]
    _check_once(given, kinds)
    _check_average_first([*given.values(), *custom])
    _check_watched([*given.values(), *custom])
    at = 0
    for needed in _NEEDED:
        place = next((i for i, kind in enumerate(kinds) if issubclass(kind, needed)), None)
        if place is None:
            place = at
            kinds.insert(at, needed)
            custom.insert(at, {'type': needed.__name__})
        at = max(at, place + 1)
    # mmengine fails on None for a key that is not one of its default hooks.
    cfg.default_hooks = {key: hook for key, hook in given.items() if hook is not None or key in _DEFAULTS}
    cfg.custom_hooks = custom


def _check_defaults(cfg: Config, given: dict[str, Any]) -> None:
    turned_off = [key for key, hook in given.items() if hook is None]
    if 'runtime_info' in turned_off:
        raise InputError('default_hooks.runtime_info: None would leave the run without its losses; leave it out')
    if 'param_scheduler' in turned_off and cfg.get('param_scheduler'):
        raise InputError(
            'default_hooks.param_scheduler: None would leave param_scheduler without effect; '
            'to train at one learning rate set param_scheduler=None'
        )


def _check_kinds(given: dict[str, Any]) -> None:
    """Check that a hook under a default hook's key is of that kind, as it would silently replace the default hook."""
    for key, kind in _DEFAULTS.items():
        if given.get(key) is None:
            continue
        found = find(HOOKS, given[key]['type'])
        # A user's own hook may replace the default ones, except those in `_STAYS`.
        own = not found.__module__.startswith(('mmengine.', 'openmix.')) and key not in _STAYS
        if not issubclass(found, kind) and not own:
            off = '' if key in _STAYS else f', and {key}=None if you want no {kind.__name__}'
            raise InputError(
                f'default_hooks.{key}: {found.__name__} would take the place of the {kind.__name__}; '
                f'give it a key of its own{off}'
            )


def _check_average_first(hooks: list[Any]) -> None:
    """Check that an EMA hook runs before the hooks that save and record its average."""
    for hook in hooks:
        kind: Any = None if hook is None else find(HOOKS, hook['type'])
        if kind is None or not issubclass(kind, EMAHook):
            continue
        given = hook.get('priority', kind.priority)
        if get_priority(given) >= get_priority('VERY_LOW'):
            raise InputError(f'{kind.__name__}: priority must come before VERY_LOW, where it is saved, got {given!r}')


def _check_once(given: dict[str, Any], custom: list[type]) -> None:
    kinds = {key: find(HOOKS, hook['type']) for key, hook in given.items() if hook is not None}
    named = [*kinds.values(), *custom, *(kind for key, kind in _DEFAULTS.items() if key not in given)]
    for kind in _ONCE:
        if (count := sum(1 for other in named if issubclass(other, kind))) > 1:
            raise InputError(
                f'the recipe has {count} hooks of type {kind.__name__}, which takes one; leave out the others'
            )


def _check_watched(hooks: list[Any]) -> None:
    """Check that no two early-stopping hooks monitor the same metric, because their state is stored by its name."""
    watched = [
        hook.get('monitor')
        for hook in hooks
        if hook is not None and issubclass(find(HOOKS, hook['type']), EarlyStoppingHook)
    ]
    if twice := [monitor for i, monitor in enumerate(watched) if monitor in watched[:i]]:
        raise InputError(
            f"the recipe has two hooks of type EarlyStoppingHook for '{twice[0]}'; "
            'give one, which takes patience and stopping_threshold together'
        )


def choose_backends(cfg: Config) -> None:
    """Pass a recipe's `vis_backends` to its visualizer, in place.

    Raises:
        InputError: the visualizer sets other ones.
    """
    asked = cfg.get('vis_backends')
    if asked is None:
        return
    visualizer = cfg.get('visualizer') or {'type': 'Visualizer'}
    own = visualizer.get('vis_backends')
    if own is not None and own != asked:
        raise InputError('the recipe: vis_backends and visualizer.vis_backends differ; set vis_backends alone')
    cfg.visualizer = {**visualizer, 'vis_backends': asked}
