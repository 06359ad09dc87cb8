"""Resume from a checkpoint: first check all of its content, then load it."""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from mmengine.model import is_model_wrapper
from mmengine.optim import ReduceOnPlateauParamScheduler, _ParamScheduler

from openmix.engine.checkpoint import Checkpoint, check_state
from openmix.engine.data_check import check_built, trained_classes
from openmix.engine.resumable import check_average, check_length, length_changes, plain_recipe
from openmix.engine.training_state import EARLIER_PLANS, Logs, check_form, check_optimizer, check_parts
from openmix.errors import InputError, brief


def restore(runner: Any, checkpoint: Checkpoint) -> None:
    """Set a runner whose parts are built to the state after the checkpoint's iteration.

    If the length of training has changed, every schedule is rebuilt for the new length and advanced to the current
    step; from here on learning rates are those of a run that had the new length from the start.

    Raises:
        InputError: the checkpoint does not fit the run.
    """
    check_parts(checkpoint)
    _check_position(checkpoint, runner)
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    check_average(checkpoint, bool(averages))
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    content, path = checkpoint.content, checkpoint.path
    classes = trained_classes(content, str(path))
    check_built(runner.train_dataloader.dataset, classes, 'train_dataloader.dataset', f"'{path}'")
    check_state(model, checkpoint.weights, path)
    for hook in averages:
        check_state(hook.ema_model, content['ema_state_dict'], path)
        check_state(model, content['state_dict'], path)
    logs = Logs.parse(content['message_hub'], path)
    optimizer = check_optimizer(content['optimizer'], runner.optim_wrapper, path)
    recipe = checkpoint.meta.recipe
    was = length_changes(recipe, plain_recipe(runner.cfg)) if recipe is not None else {}
    schedules = _states(content.get('param_schedulers'), runner.param_schedulers, checkpoint)

    watching = [isinstance(own, ReduceOnPlateauParamScheduler) for own, _ in schedules]
    if was and any(watching) and not all(watching):
        raise InputError(
            f"'{path}' cannot be resumed with another length ({', '.join(was)}): one of its schedules follows a "
            'metric, and cannot be made anew with the others; keep the length, or start a new run from its weights'
        )

    runner.call_hook('after_load_checkpoint', checkpoint=content)
    # The EMA hook has loaded the average and put the raw weights in its place.
    model.load_state_dict(content['state_dict'])
    runner.train_loop._epoch, runner.train_loop._iter = checkpoint.meta.epoch, checkpoint.meta.iteration
    _take_seed(runner, checkpoint)
    runner.message_hub.load_state_dict(logs.as_dict())
    if not was:
        runner.optim_wrapper.load_state_dict(optimizer)
        for own, state in schedules:
            own.load_state_dict(state)
        return
    replay(schedules, len(runner.train_dataloader))
    options = [{key: value for key, value in group.items() if key != 'params'} for group in _groups(runner)]
    runner.optim_wrapper.load_state_dict(optimizer)
    for group, of_plan in zip(_groups(runner), options, strict=True):
        # A learning rate that follows a metric keeps the value that the metric has led to.
        group |= {} if any(watching) else of_plan
    plans = [*earlier_plans(runner.message_hub), {'until_iter': checkpoint.meta.iteration, **was}]
    runner.message_hub.update_info(EARLIER_PLANS, plans)
    before = ', '.join(f'{key} was {value}' for key, value in was.items())
    runner.logger.info(f'The length of training has changed, {before}: the schedules are those of the new length')


def earlier_plans(hub: MessageHub) -> list[dict[str, Any]]:
    """Return the earlier planned lengths of a run, each with the iteration until which it applied."""
    return list(hub.get_info(EARLIER_PLANS) or [])


def _groups(runner: Any) -> list[dict[str, Any]]:
    """Return the options that schedules set: those of every parameter group, and those that mmengine logs."""
    return runner.optim_wrapper.param_groups


def replay(schedules: Sequence[tuple[_ParamScheduler, dict[str, Any]]], batches: int) -> None:
    """Step newly built schedules as often, and in the same order, as those of the checkpoint.

    mmengine's schedules compute each value from the previous one, so only stepping gives bit-identical values. A
    schedule that follows a metric cannot be replayed, and its state is loaded instead.

    Args:
        schedules: each schedule with the checked state of the one it replaces.
        batches: batches per epoch.
    """
    steps = []
    for i, (own, state) in enumerate(schedules):
        if isinstance(own, ReduceOnPlateauParamScheduler):
            own.load_state_dict(state)
            continue
        # At the end of an epoch, schedules by iteration step first.
        when = (own.by_epoch, i)
        moments = range(1, state['_global_step'] - own._global_step + 1)
        steps.append(zip(map((batches if own.by_epoch else 1).__mul__, moments), itertools.repeat(when)))
    with warnings.catch_warnings():
        # Ignores the warning that the optimiser has not stepped yet.
        warnings.simplefilter('ignore')
        for _, (_, i) in heapq.merge(*steps):
            schedules[i][0].step()


def _check_position(checkpoint: Checkpoint, runner: Any) -> None:
    meta, batches = checkpoint.meta, len(runner.train_dataloader)
    if meta.batches not in (None, batches):
        raise InputError(
            f"'{checkpoint.path}' was made at {meta.batches} batches an epoch, now there are {batches}: "
            'resume with the same data, batch size and number of processes'
        )
    loop = runner.cfg.train_cfg
    check_length(checkpoint, loop.get('max_epochs'), loop.get('max_iters'))
    epoch, done = meta.epoch or 0, meta.iteration or 0
    if 'max_epochs' in loop and not epoch * batches <= done <= (epoch + 1) * batches:
        raise InputError(
            f"'{checkpoint.path}' cannot be resumed: it says epoch {epoch} and iteration {done}, "
            f'and an epoch has {batches}'
        )


def _take_seed(runner: Any, checkpoint: Checkpoint) -> None:
    seed = checkpoint.meta.seed
    if seed is not None and seed != runner._randomness_cfg.get('seed'):
        runner._randomness_cfg.update(seed=seed)
        runner.set_randomness(**runner._randomness_cfg)


def _schedulers(built: Any) -> list[_ParamScheduler]:
    """List the schedules of a runner, with one or several optimisers."""
    if built is None:
        return []
    return [one for of_one in built.values() for one in of_one] if isinstance(built, Mapping) else list(built)


# The state of mmengine's schedules that changes with steps; the rest comes from the recipe.
_COUNTERS = ('_global_step', 'last_step', 'num_bad_epochs', 'cooldown_counter')
_PROGRESS = {*_COUNTERS, '_last_value', 'best'}


def _states(found: Any, built: Any, checkpoint: Checkpoint) -> list[tuple[_ParamScheduler, dict[str, Any]]]:
    """Return every schedule of the run with the state to load from a checkpoint.

    Raises:
        InputError: the checkpoint has other schedules, or a state does not fit the checkpoint's iteration.
    """
    own, path = _schedulers(built), checkpoint.path
    given = [] if found is None else found
    if isinstance(given, Mapping):
        given = [one for of_one in given.values() if isinstance(of_one, list) for one in of_one]
    if not isinstance(given, list) or len(given) != len(own):
        count = len(given) if isinstance(given, list) else 'no'
        raise InputError(f"'{path}' cannot be resumed: it holds {count} states of schedules, this run has {len(own)}")
    taken = []
    for i, (scheduler, state) in enumerate(zip(own, given, strict=True)):
        mine, place = scheduler.state_dict(), f'param_schedulers.{i}'
        if not isinstance(state, dict) or state.keys() != mine.keys():
            raise InputError(f"'{path}' cannot be resumed: {place} in it is of another kind of schedule")
        known = type(scheduler).__module__.partition('.')[0] in ('mmengine', 'openmix')
        names = mine.keys() & _PROGRESS if known else mine.keys()
        for key in sorted(names):
            check_form(state[key], mine[key], f'{place}.{key}', path)
            if key in _COUNTERS and not (type(state[key]) is int and -1 <= state[key] <= checkpoint.meta.iteration):
                raise InputError(f"'{path}' cannot be resumed: {place}.{key} in it is {brief(state[key])}")
        taken.append((scheduler, {key: state[key] for key in names}))
    return taken
