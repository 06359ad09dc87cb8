"""From a recipe to a running `Runner`: what `tools/train.py` and `tools/test.py` do."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_distributed, is_main_process
from mmengine.registry import init_default_scope

from openmix.check import check_names
from openmix.config import config_hash
from openmix.engine.checkpoint import load_weights
from openmix.engine.runner import Runner
from openmix.errors import InputError
from openmix.files import write_text
from openmix.registry import DATASETS, find


def fill_from_data(cfg: Config) -> Config:
    """Complete the model with the facts of its data set: number of classes, mean and std.

    What the recipe states itself stays.
    """
    dataset = dict(cfg.train_dataloader.dataset)
    facts = find(DATASETS, dataset.pop('type', None)).facts(**dataset)
    cfg.model.head.setdefault('num_classes', len(facts.classes))
    preprocessor = cfg.model.data_preprocessor
    preprocessor.setdefault('mean', facts.mean)
    preprocessor.setdefault('std', facts.std)
    return cfg


def prepare(cfg: Config, launcher: str = 'none') -> Config:
    """Fill in what a recipe leaves to the data and the machine."""
    init_default_scope(cfg.get('default_scope', 'openmix'))
    check_names(cfg)
    digest = config_hash(cfg)
    cfg = fill_from_data(cfg)
    for hook in cfg.get('custom_hooks', []):
        if hook.get('type') == 'ResultHook':
            hook['config_hash'] = digest
    cfg.launcher = launcher
    if launcher != 'none':
        # Only rank 0's buffers are saved: without the broadcast a resumed run would differ.
        wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=True)
        if not torch.cuda.is_available():
            wrapper['device_ids'] = None
        cfg.model_wrapper_cfg = {**wrapper, **cfg.get('model_wrapper_cfg', {})}
    return cfg


def train(cfg: Config) -> Path:
    """Train a prepared recipe; returns the path of its `result.json`."""
    result = Path(cfg.work_dir) / 'result.json'
    result.unlink(missing_ok=True)
    Runner.from_cfg(cfg).train()
    leave_group()
    return result


def leave_group() -> None:
    """Part from the other processes together: gloo aborts those whose peers exit first."""
    if is_distributed():
        barrier()
        torch.distributed.destroy_process_group()


def dry_run(cfg: Config, iterations: int) -> dict[str, float]:
    """Train `iterations` batches in a temporary folder and say what the full run would cost.

    Returns:
        seconds an iteration (median of the second half), hours for the whole schedule, and the
        peak memory of the GPU in MiB (0 on the CPU).
    """
    if iterations < 1:
        raise InputError(f'--dry-run needs at least 1 iteration, got {iterations}')
    epochs = cfg.train_cfg.get('max_epochs')
    planned = cfg.train_cfg.get('max_iters')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations + 1)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        cfg[key] = None
    cfg.default_hooks.checkpoint = None
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] != 'ResultHook']
    cfg.resume, cfg.load_from = False, None
    with TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = Runner.from_cfg(cfg)
        runner.train()
        times = runner.message_hub.get_scalar('train/time').data[0][iterations // 2 :]
        total = planned or epochs * len(runner.train_dataloader)
    seconds = float(sorted(times)[len(times) // 2])
    memory = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    return {'seconds_per_iteration': seconds, 'hours': seconds * total / 3600, 'gpu_mib': memory}


def evaluate(cfg: Config, checkpoint: str, ema: bool = False, out: str | None = None) -> dict[str, float]:
    """Evaluate a checkpoint on the recipe's test data.

    Args:
        cfg: prepared recipe.
        checkpoint: file written by training.
        ema: evaluate the moving average of the weights.
        out: where to write the metrics as JSON.
    """
    cfg.load_from, cfg.resume = None, False
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.custom_hooks = []
    cfg.default_hooks.checkpoint = None
    runner = Runner.from_cfg(cfg)
    model: Any = getattr(runner.model, 'module', runner.model)
    load_weights(model, checkpoint, ema)
    metrics = {name: float(value) for name, value in runner.test().items()}
    if out and is_main_process():
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({'checkpoint': str(checkpoint), 'ema': ema, 'metrics': metrics}, indent=1)
        write_text(Path(out), text + '\n')
    leave_group()
    return metrics


def resume_from(cfg: Config, checkpoint: str) -> None:
    """Set a recipe to go on from a checkpoint, or with 'auto' from the newest of its work folder.

    Raises:
        InputError: there is nothing to resume.
    """
    if checkpoint == 'auto':
        last = Path(cfg.work_dir) / 'last_checkpoint'
        checkpoint = last.read_text().strip() if last.is_file() else ''
        if not Path(checkpoint).is_file():
            raise InputError(f"nothing to resume in '{cfg.work_dir}'; leave out --resume to start")
    elif not Path(checkpoint).is_file():
        raise InputError(f"no checkpoint '{checkpoint}' to resume")
    cfg.resume, cfg.load_from = True, checkpoint
