"""Build the hooks of a recipe, and check that the metrics that they watch are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner.priority import get_priority
from torch import nn

from openmix.engine.blame import building
from openmix.errors import InputError, nearest
from openmix.registry import HOOKS, METRICS, MODELS


@runtime_checkable
class NamesMetrics(Protocol):
    """A metric that lists the names of the values that it measures."""

    names: Sequence[str]


@runtime_checkable
class SavesBest(Protocol):
    """A hook that saves the best weights by some metrics."""

    save_best: str | Sequence[str] | None


@runtime_checkable
class Monitors(Protocol):
    """A hook that watches a metric."""

    monitor: str | Sequence[str] | None


def try_hooks(cfg: Config) -> None:
    """Build every hook of a recipe.

    Raises:
        InputError: a hook rejects its arguments, or watches a metric that is not measured.
    """
    named = [(f'default_hooks.{key}', hook) for key, hook in (cfg.get('default_hooks') or {}).items()]
    named += [(f'custom_hooks.{i}', hook) for i, hook in enumerate(cfg.get('custom_hooks') or [])]
    for place, hook_cfg in named:
        if hook_cfg is None:
            continue
        hook_cfg = dict(hook_cfg)
        with building(cfg, place, hook_cfg['type']):
            if (priority := hook_cfg.pop('priority', None)) is not None:
                get_priority(priority)
            hook = HOOKS.build(hook_cfg)
            for watched in _watched(hook):
                check_measured(cfg, [watched] if isinstance(watched, str) else watched or [])
            if isinstance(hook, EMAHook):
                MODELS.build(dict(hook.ema_cfg), default_args=dict(model=nn.Linear(1, 1)))
                epochs, iterations = length(cfg)
                if hook.begin_epoch > epochs or hook.begin_iter > iterations:
                    raise InputError('EMAHook begins after the last epoch; lower begin_epoch or begin_iter')


def _watched(hook: Any) -> list[str | Sequence[str] | None]:
    saved = [hook.save_best] if isinstance(hook, SavesBest) else []
    return saved + ([hook.monitor] if isinstance(hook, Monitors) else [])


def check_measured(cfg: Config, wanted: Sequence[str]) -> None:
    """Check that names of metrics are measured; passes if a metric does not list its names.

    Raises:
        InputError: a name is not measured; the line suggests the nearest.
    """
    evaluator = cfg.get('val_evaluator') or []
    metrics = [METRICS.build(metric) for metric in ([evaluator] if isinstance(evaluator, Mapping) else evaluator)]
    names: list[str] = []
    for metric in metrics:
        if not isinstance(metric, NamesMetrics):
            return
        names += metric.names
    for name in wanted:
        # 'accuracy/top1' is also measured as 'accuracy/<network>/top1' for every other network of the model.
        first, *_, last = name.split('/') if name.count('/') > 1 else (name, '')
        if name not in (*names, 'auto') and f'{first}/{last}' not in names:
            raise InputError(f"nothing measures '{name}'; {nearest(name, names)}")


def length(cfg: Config) -> tuple[float, float]:
    """Return the planned epochs and iterations; the one that the recipe does not set is infinite."""
    loop = cfg.get('train_cfg') or {}
    return loop.get('max_epochs', float('inf')), loop.get('max_iters', float('inf'))
