"""Build the optimiser of a recipe and its schedules for a few weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import mmengine.registry as mm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from openmix.engine.blame import building, line_of
from openmix.engine.optim_groups import PartCosineAnnealingLR
from openmix.engine.part_schedules import without_parts
from openmix.engine.preflight.hooks import check_measured, length
from openmix.engine.preflight.loaders import BLANKS
from openmix.errors import InputError
from openmix.registry import CONSTRUCTORS, find


def try_optimizer(cfg: Config) -> None:
    """Build the optimiser and its schedules for a few weights, and take a step with each.

    Raises:
        InputError: one rejects its arguments.
    """
    # One of every kind of parameter that options distinguish: plain, depth-wise, norm, bias.
    module = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)
    )
    whole = nn.ModuleDict({'module': module})
    # Parts with parameter groups of their own have the names of the real model's parts.
    for part in (cfg.optim_wrapper.get('paramwise_cfg') or {}).get('parts') or {}:
        owner: nn.Module = whole
        for name in str(part).split('.'):
            if name not in dict(owner.named_children()):
                owner.add_module(name, nn.ParameterDict({'of_part': torch.ones(1)}))
            owner = owner.get_submodule(name)
    if 'constructor' in cfg.optim_wrapper:
        with building(cfg, 'optim_wrapper.constructor'):
            find(CONSTRUCTORS, cfg.optim_wrapper.constructor)
    with building(cfg, 'optim_wrapper', cfg.optim_wrapper.get('optimizer', {}).get('type')):
        optim = build_optim_wrapper(whole, copy.deepcopy(cfg.optim_wrapper))
    schedulers = []
    planned = cfg.get('param_scheduler') or []
    epochs, iterations = length(cfg)
    for i, scheduler in enumerate([planned] if isinstance(planned, Mapping) else planned):
        place = 'param_scheduler' if isinstance(planned, Mapping) else f'param_scheduler.{i}'
        with building(cfg, place, scheduler.get('type')):
            check_measured(cfg, [scheduler.monitor] if 'monitor' in scheduler else [])
            ends = {} if 'end' in scheduler else {'end': epochs if scheduler.get('by_epoch', True) else iterations}
            ends = {key: int(end) for key, end in ends.items() if end < float('inf')}
            plain, of = without_parts(scheduler, optim)
            given = dict(optimizer=of, epoch_length=BLANKS)
            schedulers.append((place, scheduler, mm.PARAM_SCHEDULERS.build({**plain, **ends}, default_args=given)))
    _check_ends(cfg, [built for *_, built in schedulers])
    # Fused and capturable optimisers run only on a GPU.
    if any(group.get('fused') or group.get('capturable') for group in optim.param_groups):
        return
    with building(cfg, 'optim_wrapper', cfg.optim_wrapper.get('optimizer', {}).get('type')):
        for _ in range(2):
            optim.update_params(module(torch.ones(2, 1, 1, 1)).sum())
            optim.zero_grad()
    for place, scheduler, built in schedulers:
        with building(cfg, place, scheduler.get('type')):
            built.step()


def _check_ends(cfg: Config, schedules: Sequence[Any]) -> None:
    """Check that an `lr_end` of a part has a schedule that uses it.

    Raises:
        InputError: it has none.
    """
    own = [not type(schedule).__module__.startswith(('mmengine.', 'openmix.')) for schedule in schedules]
    if any(own) or any(isinstance(schedule, PartCosineAnnealingLR) for schedule in schedules):
        return
    for part, options in ((cfg.optim_wrapper.get('paramwise_cfg') or {}).get('parts') or {}).items():
        if 'lr_end' in options:
            line = "only a PartCosineAnnealingLR ends there; set the type in param_scheduler to 'PartCosineAnnealingLR'"
            raise InputError(line_of(cfg, f'optim_wrapper.paramwise_cfg.parts.{part}.lr_end', line))
