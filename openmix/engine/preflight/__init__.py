"""The preflight: build the parts of a recipe and take one step on placeholders, before a run begins.

It finds errors that signatures cannot show, in a fraction of a second: the model is on the meta device, the optimiser
has a few weights, and loaders read placeholders instead of images. No file is read or written.
"""

from __future__ import annotations

import copy
import multiprocessing
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from openmix.engine.blame import building, line_of
from openmix.engine.compiling import compile_options
from openmix.engine.loops import interval_changes
from openmix.engine.preflight.hooks import try_hooks
from openmix.engine.preflight.loaders import batch_size, try_loader
from openmix.engine.preflight.logs import try_logs
from openmix.engine.preflight.meta_batch_norm import quick_batch_norm
from openmix.engine.preflight.model import build_model, check_facts, check_model
from openmix.engine.preflight.optimizer import try_optimizer
from openmix.engine.preflight.step import try_predict, try_step
from openmix.errors import InputError, check_choice


def try_parts(cfg: Config) -> list[str]:
    """Build every part of a prepared recipe, and take a step on the meta device.

    Returns:
        one line for each part of the model that could not be tried, with the reason.

    Raises:
        InputError: a part rejects its arguments; the line names the part and the file or option that set them.
    """
    with _unheard(), quick_batch_norm():
        return _try_all(copy.deepcopy(cfg))


def try_batch(cfg: Config, samples: int) -> list[str]:
    """Take a training step of a prepared recipe's model with this number of samples, on the meta device.

    Returns:
        one line for each part that could not be tried, with the reason.

    Raises:
        InputError: a part of the model fails on this number of samples.
    """
    with _unheard(), quick_batch_norm():
        cfg = copy.deepcopy(cfg)
        return try_step(cfg, build_model(cfg), samples)


@contextmanager
def _unheard() -> Iterator[None]:
    """Suppress logs and warnings, which the run repeats, and restore the random state afterwards."""
    generator = torch.get_rng_state()
    logger = MMLogger.get_current_instance()
    spoke, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.disabled = spoke
        torch.set_rng_state(generator)


def _try_all(cfg: Config) -> list[str]:
    _try_environment(cfg)
    with building(cfg, 'train_cfg.dynamic_intervals'):
        interval_changes((cfg.get('train_cfg') or {}).get('dynamic_intervals'))
    parts = [part for part in ('train', 'val', 'test') if cfg.get(f'{part}_dataloader') is not None]
    for part in parts:
        try_loader(cfg, part)
    try_hooks(cfg)
    try_logs(cfg)
    if cfg.get('optim_wrapper') is not None:
        try_optimizer(cfg)
    check_facts(cfg)
    with building(cfg, 'compile'):
        compile_options(cfg)
    model = build_model(cfg)
    check_model(cfg, model)
    notes = []
    for part in parts:
        if part == 'train':
            notes += try_step(cfg, model, batch_size(cfg, part))
        elif cfg.get(f'{part}_evaluator') and (part == 'val' or not _alike(cfg, 'val', part)):
            notes += try_predict(cfg, model, part)
    return list(dict.fromkeys(notes))


def _alike(cfg: Config, part: str, other: str) -> bool:
    """Return true if two of 'train', 'val' and 'test' have the same loader."""
    return cfg.get(f'{part}_dataloader') == cfg.get(f'{other}_dataloader')


def _try_environment(cfg: Config) -> None:
    method = (cfg.get('env_cfg') or {}).get('mp_cfg', {}).get('mp_start_method', 'fork')
    with building(cfg, 'env_cfg.mp_cfg.mp_start_method'):
        check_choice('mp_start_method', method, multiprocessing.get_all_start_methods())
    scale = cfg.get('auto_scale_lr') or {}
    if scale and 'base_batch_size' not in scale:
        raise InputError(
            line_of(cfg, 'auto_scale_lr', 'base_batch_size is missing; give the batch size that lr is meant for')
        )
