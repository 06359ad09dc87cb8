"""The list of mmengine's hooks, schedules, loops and optimiser parts that a recipe may or may not use.

Each of them either has been tested in openmix's training loops or is refused. Classes of openmix and of users are not
restricted. A class that a newer mmengine adds is refused until it is added here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OWN = 'openmix has one of the same name; leave out the prefix'
_SCHEDULES = ('Constant', 'CosineAnnealing', 'CosineRestart', 'Linear', 'MultiStep', 'Poly', 'Step')

# By name of the registry: classes that work in openmix's loops as documented; a test covers each.
CHECKED: Mapping[str, frozenset[str]] = {
    'hook': frozenset({'DistSamplerSeedHook', 'EmptyCacheHook', 'IterTimerHook'}),
    'loop': frozenset({'ValLoop', 'TestLoop'}),
    'optimizer constructor': frozenset({'DefaultOptimWrapperConstructor'}),
    'optimizer wrapper': frozenset({'OptimWrapper'}),
    'parameter scheduler': frozenset(
        f'{kind}{of}' for kind in _SCHEDULES for of in ('LR', 'Momentum', 'ParamScheduler')
    ),
}
# By name of the registry: why a class is refused, and what to use instead.
REFUSED: Mapping[str, Mapping[str, str]] = {
    'hook': {
        **dict.fromkeys(('CheckpointHook', 'EMAHook', 'EarlyStoppingHook', 'LoggerHook'), _OWN),
        **dict.fromkeys(('ParamSchedulerHook', 'RuntimeInfoHook'), _OWN),
        'NPUProfilerHook': 'it needs devices that openmix does not run on; take torch.profiler around a dry run',
        'NaiveVisualizationHook': "it draws another library's samples; tools/show_mix.py draws mixed batches",
        'PrepareTTAHook': 'it is for models of another library; tools/test.py --ten-crop averages over crops',
        'ProfilerHook': 'it counts epochs and steps otherwise than our loops; take torch.profiler around a dry run',
        'SyncBuffersHook': (
            'it validates averaged statistics that are not saved; RankZeroBuffersHook, which every run has, '
            "validates those that are, and sync_bn='naive' makes batch norm that of all processes"
        ),
    },
    'loop': dict.fromkeys(('EpochBasedTrainLoop', 'IterBasedTrainLoop'), _OWN),
    'optimizer constructor': {},
    'optimizer wrapper': {
        'AmpOptimWrapper': 'it keeps casts that a policy made without gradient; take AutocastOptimWrapper',
        **dict.fromkeys(
            ('ApexOptimWrapper', 'ColossalAIOptimWrapper', 'DeepSpeedOptimWrapper'),
            'it is for runners of another kind; take OptimWrapper, or AutocastOptimWrapper for mixed precision',
        ),
    },
    'parameter scheduler': dict.fromkeys(
        (
            *('ExponentialLR', 'ExponentialMomentum', 'ExponentialParamScheduler'),
            *('OneCycleLR', 'OneCycleParamScheduler'),
            *('ReduceOnPlateauLR', 'ReduceOnPlateauMomentum', 'ReduceOnPlateauParamScheduler'),
        ),
        _OWN,
    ),
}
_UNDECIDED = 'it has not been tried in our loops; see openmix/stock.py for those that have'


def refusal(registry: str, found: Any) -> str | None:
    """Return the reason why a recipe may not use a class; None if it may.

    Args:
        registry: name of the registry in which the class was found.
        found: the class.
    """
    if registry not in CHECKED or not getattr(found, '__module__', '').startswith('mmengine.'):
        return None
    name = found.__name__
    return None if name in CHECKED[registry] else REFUSED[registry].get(name, _UNDECIDED)
