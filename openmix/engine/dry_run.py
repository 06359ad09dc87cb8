"""Train a few iterations of a recipe to say what the whole run costs, as `tools/train.py --dry-run` does."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config

from openmix.engine.blame import building, stepping
from openmix.engine.initial_weights import InitialWeights
from openmix.engine.results import ResultHook
from openmix.engine.runner import Runner
from openmix.errors import InputError
from openmix.registry import HOOKS, find


def dry_run(cfg: Config, iterations: int, weights: InitialWeights | None = None) -> dict[str, float]:
    """Train `iterations` batches in a temporary folder and estimate the cost of the full run.

    Returns:
        `seconds_per_iteration` (median of the second half), `hours` for the whole schedule, its `planned_iterations`
        and `planned_epochs`, and `gpu_mib`, the peak memory of the GPU in MiB (0 on the CPU).
    """
    if iterations < 1:
        raise InputError(f'--dry-run needs at least 1 iteration, got {iterations}')
    epochs, planned = cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations + 1)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        cfg[key] = None
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.timer = dict(type='IterTimerHook')
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not issubclass(find(HOOKS, hook['type']), ResultHook)]
    cfg.resume = False
    with TemporaryDirectory() as folder:
        cfg.work_dir = folder
        with building(cfg, ''):
            runner = Runner.from_cfg(cfg)
        runner.initial = weights
        per_epoch = len(runner.train_dataloader)
        total = runner.schedule_iters = planned or epochs * per_epoch
        if iterations > total:
            raise InputError(f'--dry-run {iterations}: the run has {total} iterations; give as many or fewer')
        with stepping(cfg, runner):
            runner.train()
        times = runner.message_hub.get_scalar('train/time').data[0][iterations // 2 :]
    seconds = float(sorted(times)[len(times) // 2])
    memory = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    return {
        'seconds_per_iteration': seconds,
        'hours': seconds * total / 3600,
        'planned_iterations': total,
        'planned_epochs': round(total / per_epoch, 3),
        'gpu_mib': memory,
    }
