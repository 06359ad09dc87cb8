"""Training beyond mmengine: exact resume, seeding by iteration, AMP on any device, results, launching."""

from openmix.engine import (
    algorithm_hook,
    amp,
    buffers,
    checkpoint,
    checkpoint_hook,
    early_stopping,
    ema_hook,
    finite,
    logger_hook,
    loops,
    optim_groups,
    optimizers,
    read_back,
    results,
    schedules,
    seeding,
)

__all__ = [
    'algorithm_hook',
    'amp',
    'buffers',
    'checkpoint',
    'checkpoint_hook',
    'early_stopping',
    'ema_hook',
    'finite',
    'logger_hook',
    'loops',
    'optim_groups',
    'optimizers',
    'read_back',
    'results',
    'schedules',
    'seeding',
]
