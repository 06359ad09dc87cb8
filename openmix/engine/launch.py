"""Prepare, train and evaluate a recipe, as `tools/train.py` and `tools/test.py` do."""

from __future__ import annotations

import atexit
import copy
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_world_size, is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from torch import nn

from openmix.algorithm import Algorithm, algorithm_of
from openmix.check import check_recipe
from openmix.config_hash import config_hash
from openmix.engine.answers import check_metrics
from openmix.engine.blame import building, stepping
from openmix.engine.checkpoint import Checkpoint, load_checkpoint, put_weights, read_checkpoint
from openmix.engine.checkpoint_folder import newest_intact
from openmix.engine.claim import claimed
from openmix.engine.data_check import check_built, check_data, check_data_of, trained_classes
from openmix.engine.foretold import facts_of
from openmix.engine.further_tests import further_tests
from openmix.engine.group import join_group
from openmix.engine.initial_weights import InitialWeights, check_same, check_start
from openmix.engine.needs import choose_backends, complete_hooks
from openmix.engine.preflight import try_parts
from openmix.engine.restart import checkpoint_of_launch, chosen_together, refuse_together
from openmix.engine.results import ResultHook
from openmix.engine.resumable import check_resumable
from openmix.engine.run_seed import cut_by_seed
from openmix.engine.runner import Runner
from openmix.engine.stopping import signals_given_back
from openmix.engine.training_state import check_parts
from openmix.errors import InputError, Stopped, brief
from openmix.files import write_text
from openmix.provenance import data_fingerprint
from openmix.registry import HOOKS, MODELS, find


@runtime_checkable
class ServesMetrics(Protocol):
    """A hook class that computes what metrics read, so that an evaluation keeps it."""

    def in_evaluation(self, hook: dict[str, Any], training: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the registry dict of the hook for an evaluation, given the loader of the training images."""
        ...


def fill_from_data(cfg: Config) -> Config:
    """Complete a recipe's model with the facts of its training data, see `Algorithm.complete`."""
    facts = facts_of(cfg, 'train')
    algorithm = find(MODELS, cfg.model.get('type'))
    if facts is not None and isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
        algorithm.complete(cfg.model, facts)
    return cfg


def check_launcher(cfg: Config, launcher: str) -> None:
    """Check that a recipe does not set another launcher than the command, because only the command's is used.

    The recipe that is saved in a run's folder may contain 'none', which is ignored.

    Raises:
        InputError: the recipe sets another launcher.
    """
    if (given := cfg.get('launcher')) not in (None, 'none', launcher):
        raise InputError(
            f"the recipe: launcher is {brief(given)}, and the command's is '{launcher}', which alone counts; leave it "
            'out: tools/dist_train.sh and its like give --launcher'
        )


def prepare(cfg: Config, launcher: str = 'none') -> Config:
    """Check a recipe, and fill in the settings that depend on the data and the machine.

    Raises:
        InputError: a part cannot be built or trained.
    """
    init_default_scope('openmix')
    check_recipe(cfg)
    digest = config_hash(cfg)
    cfg = fill_from_data(cfg)
    choose_backends(cfg)
    check_data(cfg)
    check_metrics(cfg)
    for note in try_parts(cfg):
        print(f'note: {note}', file=sys.stderr)
    # After the preflight, whose errors name positions in the recipe's own list of hooks.
    complete_hooks(cfg)
    cfg.env_cfg = cfg.get('env_cfg') or {}
    cfg.randomness = {'seed': None, **(cfg.get('randomness') or {})}
    for hook in cfg.custom_hooks:
        if issubclass(find(HOOKS, hook['type']), ResultHook):
            hook['recipe'] = digest
    cfg.launcher = launcher
    return cfg


def train(
    cfg: Config, resume: str | None = None, seed: int | None = None, weights: InitialWeights | None = None
) -> Path:
    """Train a prepared recipe; return the path of its `result.json`.

    Args:
        cfg: recipe.
        resume: a checkpoint to resume from, or 'auto' for the newest in the run's folder; None: by the recipe.
        seed: the seed on the command line, if any.
        weights: initial weights of the backbone, which the recipe names; ignored by a resumed run.

    Raises:
        InputError: the recipe, the data or the machine does not allow it, or another training works in the folder.
        Stopped: SIGTERM or SIGINT arrived; the run is saved.
    """
    with building(cfg, ''):
        join_group(cfg.launcher, cfg.env_cfg)
    try:
        with claimed(Path(cfg.work_dir)) as claim, signals_given_back():
            # Inside the claim, because before it another training may still write checkpoints.
            checkpoint = chosen_together(lambda: _choose(cfg, resume, seed))
            check_start(cfg, weights, checkpoint)
            refuse_together(_objection(cfg, checkpoint) if checkpoint is not None and is_main_process() else None)
            with building(cfg, ''):
                runner = Runner.from_cfg(cfg)
            runner.claim, runner.chosen, runner.initial = claim, checkpoint, weights
            with stepping(cfg, runner):
                runner.train()
    except Stopped:
        leave_group()
        raise
    leave_group()
    return Path(cfg.work_dir) / 'result.json'


def _choose(cfg: Config, resume: str | None, seed: int | None) -> Checkpoint | None:
    """Choose the checkpoint to resume from, and set it in the recipe; None for a new run."""
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    # Restarted by its launcher, a run resumes from its own newest checkpoint, not from the one given at first.
    chosen = checkpoint_of_launch(Path(cfg.work_dir)) or resume
    return None if chosen is None else resume_from(cfg, chosen, seed)


def leave_group() -> None:
    """Leave the process group in all processes at once, because gloo aborts a process whose peer exits first."""
    if is_distributed():
        barrier()
        torch.distributed.destroy_process_group()


def end_process() -> None:
    """Exit with code 0 at once if this is one of several processes; do nothing in a single process.

    A regular exit destroys C++ threads that gloo may have left running, which sometimes aborts the process.
    """
    if os.environ.get('WORLD_SIZE') in (None, '', '1'):
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def evaluate(
    cfg: Config,
    checkpoint: str,
    ema: bool | None = False,
    out: str | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    crops: int = 1,
    hooks: Sequence[Mapping[str, Any]] = (),
    further: Mapping[str, Mapping[str, Any]] | None = None,
    summary: Callable[[Mapping[str, Mapping[str, float]]], dict[str, float]] = lambda metrics: {},
    watch: Sequence[Hook] = (),
) -> dict[str, float]:
    """Evaluate a checkpoint on the recipe's test data.

    Args:
        cfg: prepared recipe.
        checkpoint: file written by training.
        ema: evaluate the moving average of the weights; None: if the run kept one, as its own validations did.
        out: file for the metrics as JSON.
        wrap: function that wraps the model to change its predictions, such as averaging over crops.
        crops: number of crops that predictions are averaged over, which is recorded in `out`.
        hooks: registry dicts of hooks that measure more, which are recorded in `out`.
        further: data sets of other images that it is tested on too, without the hooks: name -> registry dict.
        summary: makes metrics of those of each further data set, by its name.
        watch: hooks that the caller reads afterwards.
    """
    if cfg.get('test_dataloader') is None:
        raise InputError('the recipe has no test_dataloader, which says what to evaluate on')
    content = read_checkpoint(checkpoint)
    classes, named = trained_classes(content, checkpoint), f"'{checkpoint}'"
    if classes is not None:
        check_data_of(cfg, 'test', classes, named)
    if cut_by_seed(cfg.test_dataloader.dataset):
        cfg.randomness.seed = _seed_of(content, checkpoint)
    given = [(find(HOOKS, hook['type']), dict(hook)) for hook in cfg.get('custom_hooks') or []]
    own = [kind.in_evaluation(hook, cfg.train_dataloader) for kind, hook in given if isinstance(kind, ServesMetrics)]
    cfg.load_from, cfg.resume = None, False
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.custom_hooks = [*own, *(dict(hook) for hook in hooks)]
    cfg.default_hooks.checkpoint = None
    # An evaluation has no curve, and TensorBoard would show its event file as an empty run.
    cfg.vis_backends, cfg.visualizer = [], {'type': 'Visualizer', 'vis_backends': []}
    with building(cfg, ''):
        runner = Runner.from_cfg(cfg)
    model = algorithm_of(runner.model)
    ema = 'ema_state_dict' in content if ema is None else ema
    put_weights(model, content, checkpoint, ema)
    check_built(runner.test_dataloader.dataset, classes, 'test_dataloader.dataset', named)
    for hook in watch:
        runner.register_hook(hook)
    if wrap is not None:
        # Nothing is trained, so the model needs no DDP wrapper.
        runner.model = wrap(model)
    with stepping(cfg, runner):
        metrics = {name: float(value) for name, value in runner.test().items()}
        if further:
            metrics |= summary(dict(further_tests(runner, further, hooks, classes, named)))
    if out and is_main_process():
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        said = {'checkpoint': str(checkpoint), 'ema': ema, 'crops': crops}
        said |= {'hooks': [dict(hook) for hook in hooks]} if hooks else {}
        write_text(Path(out), json.dumps({**said, 'metrics': metrics}, indent=1) + '\n')
    leave_group()
    return metrics


def _seed_of(content: dict, checkpoint: str) -> int:
    seed = (content.get('meta') or {}).get('seed')
    if not isinstance(seed, int):
        raise InputError(f"test_dataloader: split_seed=None is the seed of a run, and '{checkpoint}' says none")
    return seed


def _objection(cfg: Config, checkpoint: Checkpoint) -> str | None:
    """Return the reason why a recipe cannot resume from a checkpoint, before the run's folder is changed; else None."""
    try:
        check_parts(checkpoint)
        check_same(checkpoint, cfg)
        path = str(checkpoint.path)
        if (classes := trained_classes(checkpoint.content, path)) is not None:
            check_data_of(copy.deepcopy(cfg), 'train', classes, f"'{path}'")
        check_resumable(checkpoint, cfg, get_world_size(), data_fingerprint(cfg))
    except InputError as error:
        return str(error)
    return None


def resume_from(cfg: Config, chosen: str | Checkpoint, seed: int | None = None) -> Checkpoint:
    """Set a recipe to resume from a checkpoint, or with 'auto' from the newest intact one in its work folder.

    The run continues with the checkpoint's seed; `seed` is the one on the command line, if any.

    Returns:
        the checkpoint; its content is loaded from here, also if the file changes later.

    Raises:
        InputError: there is nothing to resume, or another seed is given.
    """
    if isinstance(chosen, Checkpoint):
        checkpoint = chosen
    else:
        checkpoint = newest_intact(Path(cfg.work_dir)) if chosen == 'auto' else load_checkpoint(chosen)
    trained_with = checkpoint.meta.seed
    if trained_with is not None:
        if seed not in (None, trained_with):
            raise InputError(
                f"'{checkpoint.path}' was trained with seed {trained_with}, and goes on with it; "
                f'leave out seed {seed}, or --resume'
            )
        cfg.randomness.seed = trained_with
    cfg.resume, cfg.load_from = True, str(checkpoint.path)
    return checkpoint
