"""Build the visualizer of a recipe without writing a file."""

from __future__ import annotations

import os

import mmengine.registry as mm
from mmengine.config import Config

from openmix.engine.blame import building, line_of
from openmix.errors import InputError
from openmix.registry import find


def try_logs(cfg: Config) -> None:
    """Build the visualizer of a recipe and its backends.

    Raises:
        InputError: one rejects its arguments, or the recipe has a `log_processor`.
    """
    if cfg.get('log_processor') is not None:
        line = 'nothing reads it: the LoggerHook decides what is logged, so that all records say the same numbers'
        raise InputError(line_of(cfg, 'log_processor', line))
    visualizer = dict(cfg.get('visualizer') or {'type': 'Visualizer'})
    for i, backend in enumerate(visualizer.pop('vis_backends', None) or []):
        with building(cfg, f'visualizer.vis_backends.{i}', backend.get('type')):
            mm.VISBACKENDS.build({'save_dir': os.devnull, **backend})
    with building(cfg, 'visualizer', visualizer.get('type')):
        cls = find(mm.VISUALIZERS, visualizer.pop('type', 'Visualizer'))
        cls(**{'name': 'preflight', **visualizer, 'save_dir': None})
