"""Decides what of a recipe may change where a run is resumed, and what may not.

A checkpoint holds its recipe as plain data. What decides the numbers of a run has to be as it was: a resumed run that
kept its old learning rate while its result named a new one would be neither experiment. How long it trains may
change, the schedule is then made anew, and so may how it is run: workers, logs, intervals, where its files lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.hooks import EMAHook

from openmix.config import config_hash, flatten
from openmix.engine.checkpoint import Checkpoint
from openmix.errors import InputError, brief
from openmix.recipe_schema import ALSO_READ, RUNNER
from openmix.recipe_text import plain
from openmix.registry import HOOKS, find


class Decision(Enum):
    """Names what becomes of a key whose value is another one."""

    FREE = 'how the run is run'
    LENGTH = 'how long it trains'
    BATCH = 'kept is the product with the number of processes'
    PLACE = 'kept are the files below it'
    FIXED = 'what the run computes'


# The first line that fits a key decides; * is one part of a key, ** any number, and what is below a key goes with it.
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
    ('custom_hooks.EmptyCacheHook', Decision.FREE),
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
]
_MISSING = 'not set'


def _pattern(text: str) -> re.Pattern[str]:
    words = (re.escape(word) for word in text.split())
    one_of = '|'.join(word.replace(r'\.\*\*\.', r'\.(?:.*\.)?').replace(r'\*', '[^.]*') for word in words)
    return re.compile(rf'(?:{one_of})(?:\..*)?')


_PATTERNS = [(_pattern(text), decision) for text, decision in _TABLE]


def decide(key: str) -> Decision:
    """Look up what becomes of a dotted key of a recipe that differs."""
    return next((decision for pattern, decision in _PATTERNS if pattern.fullmatch(key)), Decision.FIXED)


class Change(NamedTuple):
    """A key of a recipe that differs, and its values; `_MISSING` where a recipe does not set it."""

    key: str
    old: Any
    new: Any


def plain_recipe(cfg: Config) -> dict[str, Any]:
    """Take what a runner reads of a resolved recipe, as plain data; variables of the recipe's own are left out."""
    return {key: value for key, value in plain(cfg.to_dict()).items() if key in {*RUNNER, *ALSO_READ}}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Every key of two plain recipes that differs, in the order of the new one, then what it lacks."""
    before, after = (dict(flatten(_with_hooks_by_name(recipe))) for recipe in (old, new))
    for key in [*after, *(key for key in before if key not in after)]:
        was, is_now = (values.get(key, _MISSING) for values in (before, after))
        nothing = all(value is None or value in ({}, _MISSING) for value in (was, is_now))
        if was != is_now and repr(was) != repr(is_now) and not nothing:  # nan differs from itself
            yield Change(key, was, is_now)


def _with_hooks_by_name(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with its custom hooks by type: one that is put between two others moves none of them."""
    found: dict[str, Any] = {}
    hooks = recipe.get('custom_hooks')
    for hook in hooks if isinstance(hooks, list) else ():
        name = str(hook.get('type') if isinstance(hook, Mapping) else hook).rpartition('.')[2]
        number = 2
        while name in found:
            name, number = f'{name.partition("#")[0]}#{number}', number + 1
        found[name] = hook
    return {**recipe, 'custom_hooks': found}


def keeps_average(cfg: Config) -> bool:
    """Tell whether a recipe keeps a moving average of the weights."""
    hooks = [find(HOOKS, hook['type']) for hook in cfg.get('custom_hooks') or ()]
    return any(isinstance(hook, type) and issubclass(hook, EMAHook) for hook in hooks)


def check_average(checkpoint: Checkpoint, keeps: bool) -> None:
    """Refuse to go on without the average that a run kept, or with one that it did not.

    Raises:
        InputError: the recipe and the checkpoint differ in it.
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
    """`config_hash`, whichever checkpoint the run goes on from."""
    return config_hash(Config({**cfg.to_dict(), 'load_from': None}))


def check_resumable(checkpoint: Checkpoint, cfg: Config, processes: int, data: str | None) -> None:
    """Hold a prepared recipe against the one that a checkpoint was trained by.

    Args:
        checkpoint: to go on from.
        cfg: recipe to go on with.
        processes: that train.
        data: see `openmix.provenance.data_fingerprint`.

    Raises:
        InputError: something differs that may not; the line names key, old and new value, and what to do.
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
    """Refuse a length that a run has passed.

    Raises:
        InputError: naming both numbers.
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
    if decision is Decision.PLACE:
        return meta.data is None or meta.data != data
    return decision in (Decision.FIXED, Decision.BATCH)


def length_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old values of the keys that say how long a run trains and that differ; empty where none does."""
    return {change.key: change.old for change in changes(old, new) if decide(change.key) is Decision.LENGTH}


def _or_start(checkpoint: Checkpoint) -> str:
    return f"or start a new run from its weights: load_from='{checkpoint.path}', without --resume"
