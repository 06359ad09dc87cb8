"""Decide which settings of a recipe may change when a run is resumed.

A checkpoint contains its recipe as plain data. Settings that determine the results of a run must not change: a run
that continued with its old learning rate while its result named a new one would match neither experiment. The length
of training may change, and schedules are then rebuilt; so may settings that do not affect results, such as workers,
logs, intervals and the location of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.hooks import EMAHook

from openmix.config_hash import by_former_name, config_hash, flatten
from openmix.engine.checkpoint import Checkpoint
from openmix.errors import InputError, brief
from openmix.recipe_keys import ALSO_READ
from openmix.recipe_schema import RUNNER
from openmix.recipe_text import plain
from openmix.registry import HOOKS, find


class Decision(Enum):
    """The treatment of a key whose value has changed."""

    FREE = 'how the run is run'
    LENGTH = 'how long it trains'
    BATCH = 'kept is the product with the number of processes'
    PLACE = 'kept are the files below it, or the content of the list'
    FIXED = 'what the run computes'


# The first line that matches a key decides; * is one part of a key, ** any number; a line also matches keys below.
_TABLE: list[tuple[str, Decision]] = [
    (
        'work_dir launcher resume load_from experiment_name log_level visualizer vis_backends',
        Decision.FREE,
    ),
    ('env_cfg custom_imports default_scope data_on_device compile find_unused_parameters', Decision.FREE),
    ('model.grad_checkpointing model.data_preprocessor.channels_last', Decision.FREE),
    ('randomness.deterministic randomness.seed weights.data', Decision.FREE),
    ('default_hooks.timer default_hooks.logger default_hooks.checkpoint default_hooks.visualization', Decision.FREE),
    ('default_hooks.sampler_seed custom_hooks.*.recipe custom_hooks.EarlyStoppingHook', Decision.FREE),
    ('custom_hooks.EmptyCacheHook custom_hooks.DrawDetectionsHook', Decision.FREE),
    ('train_cfg.val_interval train_cfg.val_begin train_cfg.dynamic_intervals', Decision.FREE),
    ('test_dataloader test_cfg test_evaluator val_dataloader.batch_size', Decision.FREE),
    (
        ' '.join(
            f'{part}_dataloader.{key}'
            for part in ('train', 'val')
            for key in (
                *('num_workers', 'persistent_workers', 'pin_memory', 'pin_memory_device', 'prefetch_factor'),
                *('timeout', 'multiprocessing_context', 'worker_init_fn', 'in_order', 'disable_subprocess_warning'),
            )
        ),
        Decision.FREE,
    ),
    ('train_dataloader.**.download val_dataloader.**.download', Decision.FREE),
    ('train_cfg.max_epochs train_cfg.max_iters', Decision.LENGTH),
    ('param_scheduler.end param_scheduler.T_max param_scheduler.*.end param_scheduler.*.T_max', Decision.LENGTH),
    ('train_dataloader.batch_size', Decision.BATCH),
    ('train_dataloader.**.root val_dataloader.**.root', Decision.PLACE),
    ('train_dataloader.**.subset val_dataloader.**.subset', Decision.PLACE),
]
_MISSING = 'not set'


def _pattern(text: str) -> re.Pattern[str]:
    words = (re.escape(word) for word in text.split())
    one_of = '|'.join(word.replace(r'\.\*\*\.', r'\.(?:.*\.)?').replace(r'\*', '[^.]*') for word in words)
    return re.compile(rf'(?:{one_of})(?:\..*)?')


_PATTERNS = [(_pattern(text), decision) for text, decision in _TABLE]


def decide(key: str) -> Decision:
    """Look up the treatment of a dotted key of a recipe whose value has changed."""
    return next((decision for pattern, decision in _PATTERNS if pattern.fullmatch(key)), Decision.FIXED)


class Change(NamedTuple):
    """A key whose value differs between two recipes, and both values; `_MISSING` if a recipe does not set it."""

    key: str
    old: Any
    new: Any


def plain_recipe(cfg: Config) -> dict[str, Any]:
    """Return the settings of a resolved recipe that a runner reads, as plain data, without the recipe's variables."""
    return {key: value for key, value in plain(cfg.to_dict()).items() if key in {*RUNNER, *ALSO_READ}}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Yield every key that differs between two plain recipes, in the order of the new one, then missing ones."""
    before, after = (dict(flatten(_with_hooks_by_name(recipe))) for recipe in (old, new))
    for key in [*after, *(key for key in before if key not in after)]:
        was, is_now = (values.get(key, _MISSING) for values in (before, after))
        nothing = all(value is None or value in ({}, _MISSING) for value in (was, is_now))
        if was != is_now and repr(was) != repr(is_now) and not nothing:  # nan differs from itself
            yield Change(key, was, is_now)


def _with_hooks_by_name(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe with custom hooks as a dict by type, so that inserting a hook does not change other keys.

    A renamed hook has its former name, as in `config_hash`.
    """
    found: dict[str, Any] = {}
    hooks = recipe.get('custom_hooks')
    for hook in map(by_former_name, hooks if isinstance(hooks, list) else ()):
        name = str(hook.get('type') if isinstance(hook, Mapping) else hook).rpartition('.')[2]
        number = 2
        while name in found:
            name, number = f'{name.partition("#")[0]}#{number}', number + 1
        found[name] = hook
    return {**recipe, 'custom_hooks': found}


def keeps_average(cfg: Config) -> bool:
    """Return true if a recipe keeps a moving average of the weights."""
    hooks = [find(HOOKS, hook['type']) for hook in cfg.get('custom_hooks') or ()]
    return any(isinstance(hook, type) and issubclass(hook, EMAHook) for hook in hooks)


def check_average(checkpoint: Checkpoint, keeps: bool) -> None:
    """Check that recipe and checkpoint either both have a moving average or both have none.

    Raises:
        InputError: they differ.
    """
    if checkpoint.average is not None and not keeps:
        raise InputError(
            f"'{checkpoint.path}' holds a moving average of the weights, and the recipe keeps none: "
            f'put its EMAHook back into custom_hooks, {_or_start(checkpoint)}'
        )
    if checkpoint.average is None and keeps:
        raise InputError(
            f"'{checkpoint.path}' holds no moving average of the weights, and the recipe keeps one: "
            f'take its EMAHook out of custom_hooks, {_or_start(checkpoint)}'
        )


def recipe_hash(cfg: Config) -> str:
    """Compute `config_hash` without `load_from`, so that it does not depend on the checkpoint to resume from."""
    return config_hash(Config({**cfg.to_dict(), 'load_from': None}))


def check_resumable(checkpoint: Checkpoint, cfg: Config, processes: int, data: str | None) -> None:
    """Compare a prepared recipe with the one that a checkpoint was trained with.

    Args:
        checkpoint: checkpoint to resume from.
        cfg: recipe to continue with.
        processes: number of training processes.
        data: see `openmix.provenance.data_fingerprint`.

    Raises:
        InputError: a setting differs that must not; the line names key, old and new value, and a remedy.
    """
    meta = checkpoint.meta
    check_average(checkpoint, keeps_average(cfg))
    if meta.recipe is None:
        if meta.recipe_hash != (now := recipe_hash(cfg)):
            of = f'only its hash, {meta.recipe_hash}, which is {now} now' if meta.recipe_hash else 'nor its hash'
            raise InputError(
                f"'{checkpoint.path}' does not hold the recipe that it was trained by, {of}: "
                f'resume it with the very same recipe and openmix, {_or_start(checkpoint)}'
            )
        return
    wrong = [change for change in changes(meta.recipe, plain_recipe(cfg)) if _is_refused(change, meta, processes, data)]
    if wrong:
        named = '; '.join(f'{key} was {brief(old)} and is {brief(new)}' for key, old, new in wrong[:3])
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise InputError(
            f"'{checkpoint.path}' was trained by another recipe: {named}{more}; set it back to resume, "
            f'{_or_start(checkpoint)}'
        )
    if None not in (meta.data, data) and meta.data != data:
        raise InputError(
            f"the files of the data sets have changed since '{checkpoint.path}' was trained "
            f'(fingerprint {meta.data}, now {data}): bring them back, {_or_start(checkpoint)}'
        )
    check_length(checkpoint, cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters'))


def check_length(checkpoint: Checkpoint, max_epochs: int | None, max_iters: int | None) -> None:
    """Check that the planned length of training is not below the number of iterations done.

    Raises:
        InputError: it is; the line names both numbers.
    """
    done, batches = checkpoint.meta.iteration or 0, checkpoint.meta.batches
    if max_iters is not None and done > max_iters:
        raise InputError(f"train_cfg.max_iters is {max_iters}, and '{checkpoint.path}' has {done} done: {_LONGER}")
    if max_epochs is not None and batches is not None and done > max_epochs * batches:
        epochs = f'{done / batches:.4g}'
        raise InputError(f"train_cfg.max_epochs is {max_epochs}, and '{checkpoint.path}' has {epochs} done: {_LONGER}")


_LONGER = 'train for at least as long, or resume from an earlier checkpoint'


def _is_refused(change: Change, meta: Any, processes: int, data: str | None) -> bool:
    decision = decide(change.key)
    if decision is Decision.BATCH and type(change.old) is type(change.new) is int and meta.world_size:
        return change.old * meta.world_size != change.new * processes
    if decision is Decision.PLACE and type(change.old) is type(change.new) is str:
        return meta.data is None or meta.data != data
    return decision in (Decision.FIXED, Decision.BATCH, Decision.PLACE)


def length_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old values of those keys for the length of training that differ; empty if none does."""
    return {change.key: change.old for change in changes(old, new) if decide(change.key) is Decision.LENGTH}


def _or_start(checkpoint: Checkpoint) -> str:
    return f"or start a new run from its weights: load_from='{checkpoint.path}', without --resume"
