"""A recipe's parts, built and tried once on next to nothing before a run begins.

The signatures of classes say little about values. What a constructor or a first step refuses is found
here in a fraction of a second: the model lives on the meta device, the optimiser moves a handful of
weights, loaders serve blanks. Nothing is read or written.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import mmengine.registry as mm
import torch
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset, default_collate, pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmengine.runner.priority import get_priority
from torch import Tensor, nn

from openmix.algorithm import Algorithm, algorithm_of
from openmix.engine.blame import building, line_of
from openmix.engine.compiling import compile_options
from openmix.engine.data_check import group_of
from openmix.engine.loops import interval_changes
from openmix.engine.optim_groups import PartCosineAnnealingLR
from openmix.errors import InputError, check_choice, nearest
from openmix.mix import Mix
from openmix.registry import CONSTRUCTORS, DATASETS, FUNCTIONS, HOOKS, METRICS, MIXUPS, MODELS, find

_BLANKS = 64
# What makes a batch of single samples.
_OF_SAMPLES = (default_collate, pseudo_collate)
_WRAPPERS = (ClassBalancedDataset, ConcatDataset, RepeatDataset)


def try_parts(cfg: Config) -> None:
    """Build every part of a prepared recipe, and take one step with each where that costs nothing.

    Raises:
        InputError: a part refuses what the recipe gives it; the line says which, and what set it.
    """
    with _unheard():
        _try_all(copy.deepcopy(cfg))


def try_batch(cfg: Config, images: int) -> bool:
    """Take a step of a prepared recipe's model with so many images on the meta device.

    Returns:
        False where it could not be tried: only the files tell the images' size, they come as several views, or
        the model is not made of sites, head and context.

    Raises:
        InputError: a part of the model refuses as many.
    """
    with _unheard():
        cfg = copy.deepcopy(cfg)
        return _try_step(cfg, _build_model(cfg), images)


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep a trial's remarks and draws apart from the run's: what there is to say is said again when it begins."""
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


def _try_all(cfg: Config) -> None:
    _try_environment(cfg)
    with building(cfg, 'train_cfg.dynamic_intervals'):
        interval_changes((cfg.get('train_cfg') or {}).get('dynamic_intervals'))
    for part in ('train', 'val', 'test'):
        if cfg.get(f'{part}_dataloader') is not None:
            _try_loader(cfg, part)
    _try_hooks(cfg)
    _try_logs(cfg)
    if cfg.get('optim_wrapper') is not None:
        _try_optimizer(cfg)
    _check_facts(cfg)
    with building(cfg, 'compile'):
        compile_options(cfg)
    _try_model(cfg)


def _try_environment(cfg: Config) -> None:
    method = (cfg.get('env_cfg') or {}).get('mp_cfg', {}).get('mp_start_method', 'fork')
    with building(cfg, 'env_cfg.mp_cfg.mp_start_method'):
        check_choice('mp_start_method', method, multiprocessing.get_all_start_methods())
    scale = cfg.get('auto_scale_lr') or {}
    if scale and 'base_batch_size' not in scale:
        raise InputError(
            line_of(cfg, 'auto_scale_lr', 'base_batch_size is missing; give the batch size that lr is meant for')
        )


class _Blanks(torch.utils.data.Dataset):
    """Stands for a data set while a loader is tried."""

    def __len__(self) -> int:
        return _BLANKS

    def __getitem__(self, index: int) -> int:
        return index


class _PoolsOfBlanks(_Blanks):
    """Stands for a data set of two pools."""

    def __init__(self, ratio: int) -> None:
        self.ratio, self.sizes = ratio, (_BLANKS, _BLANKS * ratio)

    def __len__(self) -> int:
        return sum(self.sizes)


def _try_loader(cfg: Config, part: str) -> None:
    place = f'{part}_dataloader'
    dataset = find(DATASETS, cfg[place].dataset.type)
    if isinstance(dataset, type) and issubclass(dataset, _WRAPPERS):
        raise InputError(
            line_of(
                cfg,
                f'{place}.dataset',
                f"{dataset.__name__} wraps mmengine's own data sets, not those that answer whole batches; "
                'train for more epochs, or give one data set',
            )
        )
    # torch's own answers lists of samples by that name.
    lists = isinstance(dataset, type) and issubclass(dataset, torch.utils.data.Subset)
    whole = hasattr(dataset, '__getitems__') and not lists
    if whole and find(FUNCTIONS, cfg[place].collate_fn.type) in _OF_SAMPLES:
        line = f"{dataset.__name__} answers whole batches, which are not collated; set type='identity_collate'"
        raise InputError(line_of(cfg, f'{place}.collate_fn', line))
    with building(cfg, place, 'DataLoader'):
        group = group_of(cfg, part)
        blanks = _Blanks() if group == 1 else _PoolsOfBlanks(group - 1)
        loader = Runner.build_dataloader({**cfg[place], 'dataset': blanks, 'drop_last': False}, seed=0)
        planned = len(loader)
        endless = sum(1 for _ in islice(iter(loader.batch_sampler or ()), planned + 1)) > planned
    loop = (cfg.get(f'{part}_cfg') or {}).get('type', '')
    if endless and loop != 'IterBasedTrainLoop':
        name = cfg[place].sampler.type
        raise InputError(
            line_of(cfg, f'{place}.sampler', f'{name} never ends an epoch; take DefaultSampler, or IterBasedTrainLoop')
        )
    evaluator = cfg.get(f'{part}_evaluator')
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator] if evaluator else []:
        with building(cfg, f'{part}_evaluator', metric.get('type')):
            METRICS.build(metric) if 'type' in metric else [METRICS.build(one) for one in metric.metrics]


def _try_hooks(cfg: Config) -> None:
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
            for watched in (getattr(hook, 'save_best', None), getattr(hook, 'monitor', None)):
                _check_measured(cfg, [watched] if isinstance(watched, str) else watched or [])
            if isinstance(hook, EMAHook):
                MODELS.build(dict(hook.ema_cfg), default_args=dict(model=nn.Linear(1, 1)))
                epochs, iterations = _length(cfg)
                if hook.begin_epoch > epochs or hook.begin_iter > iterations:
                    raise InputError('EMAHook begins after the last epoch; lower begin_epoch or begin_iter')


def _check_measured(cfg: Config, wanted: Sequence[str]) -> None:
    """What a hook watches must be measured; metrics that do not tell their names may measure anything."""
    evaluator = cfg.get('val_evaluator') or []
    metrics = [METRICS.build(metric) for metric in ([evaluator] if isinstance(evaluator, Mapping) else evaluator)]
    if not all(hasattr(metric, 'names') for metric in metrics):
        return
    names = [name for metric in metrics for name in metric.names]
    for name in wanted:
        # 'accuracy/<network>/top1' is measured where 'accuracy/top1' is and the model has that network.
        first, *_, last = name.split('/') if name.count('/') > 1 else (name, '')
        if name not in (*names, 'auto') and f'{first}/{last}' not in names:
            raise InputError(f"nothing measures '{name}'; {nearest(name, names)}")


def _try_logs(cfg: Config) -> None:
    if cfg.get('log_processor') is not None:
        line = 'nothing reads it: the LoggerHook decides what is logged, so that all records say the same numbers'
        raise InputError(line_of(cfg, 'log_processor', line))
    visualizer = dict(cfg.get('visualizer') or {'type': 'Visualizer'})
    for i, backend in enumerate(visualizer.pop('vis_backends', None) or []):
        with building(cfg, f'visualizer.vis_backends.{i}', backend.get('type')):
            mm.VISBACKENDS.build({'save_dir': os.devnull, **backend})
    with building(cfg, 'visualizer', visualizer.get('type')):
        find(mm.VISUALIZERS, visualizer.pop('type', 'Visualizer'))(**{'name': 'trial', **visualizer, 'save_dir': None})


def _length(cfg: Config) -> tuple[float, float]:
    """Planned epochs and iterations; infinite where the recipe plans in the other."""
    loop = cfg.get('train_cfg') or {}
    return loop.get('max_epochs', float('inf')), loop.get('max_iters', float('inf'))


def _try_optimizer(cfg: Config) -> None:
    # Of every kind of parameter that options tell apart: plain, depth-wise, norm, bias.
    module = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)
    )
    whole = nn.ModuleDict({'module': module})
    # The parts that have groups of their own are named after the real model's.
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
    epochs, iterations = _length(cfg)
    for i, scheduler in enumerate([planned] if isinstance(planned, Mapping) else planned):
        place = 'param_scheduler' if isinstance(planned, Mapping) else f'param_scheduler.{i}'
        with building(cfg, place, scheduler.get('type')):
            _check_measured(cfg, [scheduler.monitor] if 'monitor' in scheduler else [])
            ends = {} if 'end' in scheduler else {'end': epochs if scheduler.get('by_epoch', True) else iterations}
            ends = {key: int(end) for key, end in ends.items() if end < float('inf')}
            given = dict(optimizer=optim, epoch_length=_BLANKS)
            schedulers.append((place, scheduler, mm.PARAM_SCHEDULERS.build({**scheduler, **ends}, default_args=given)))
    _check_ends(cfg, [built for *_, built in schedulers])
    # These run on a GPU only.
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
    """Refuse an end of a part's schedule that no schedule goes to."""
    own = [not type(schedule).__module__.startswith(('mmengine.', 'openmix.')) for schedule in schedules]
    if any(own) or any(isinstance(schedule, PartCosineAnnealingLR) for schedule in schedules):
        return
    for part, options in ((cfg.optim_wrapper.get('paramwise_cfg') or {}).get('parts') or {}).items():
        if 'lr_end' in options:
            line = "only a PartCosineAnnealingLR ends there; set the type in param_scheduler to 'PartCosineAnnealingLR'"
            raise InputError(line_of(cfg, f'optim_wrapper.paramwise_cfg.parts.{part}.lr_end', line))


def _check_facts(cfg: Config) -> None:
    """Hold the model against the facts of the data of training, validation and test."""
    algorithm = find(MODELS, cfg.model.get('type'))
    for part in ('train', 'val', 'test'):
        dataset = dict((cfg.get(f'{part}_dataloader') or {}).get('dataset') or {})
        facts_of = getattr(find(DATASETS, dataset.pop('type')), 'facts', None) if dataset else None
        if facts_of is not None and isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
            with building(cfg, 'model'):
                algorithm.check_facts(cfg.model, facts_of(**dataset))


def _try_model(cfg: Config) -> None:
    # One by one first: an error then names its place.
    for part, registry, given in (
        ('backbone', MODELS, {}),
        ('head', MODELS, {'in_features': 1}),
        ('policy', MIXUPS, {}),
    ):
        part_cfg = cfg.model.get(part)
        if isinstance(part_cfg, Mapping):
            with building(cfg, f'model.{part}', part_cfg.get('type')), torch.device('meta'):
                registry.build({**given, **part_cfg})
    model = _build_model(cfg)
    with building(cfg, 'model'):
        algorithm_of(model)
    _check_custom_keys(cfg, [name for name, parameter in model.named_parameters() if parameter.requires_grad])
    size = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**30
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    if size > memory:
        raise InputError(
            line_of(cfg, 'model.backbone', f'its weights take {size:.0f} GiB, this machine has {memory:.0f} GiB')
        )
    if cfg.get('train_dataloader') is not None:
        _try_step(cfg, model, min(cfg.train_dataloader.get('batch_size', 1), 2))


def _check_custom_keys(cfg: Config, names: Sequence[str]) -> None:
    """Refuse multipliers that no parameter has: the constructor looks for each key inside of names."""
    for key in ((cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}).get('custom_keys') or {}:
        if not any(key in name for name in names):
            modules = {name[:i] for name in names for i, letter in enumerate(name) if letter == '.'}
            line = f"no trainable parameter has '{key}' in its name; {nearest(key, modules)}"
            raise InputError(line_of(cfg, f'optim_wrapper.paramwise_cfg.custom_keys.{key}', line))


def _build_model(cfg: Config) -> Any:
    with building(cfg, 'model', cfg.model.get('type')), torch.device('meta'):
        return MODELS.build(cfg.model)


def _try_step(cfg: Config, model: Any, n: int) -> bool:
    """A step with n images; False where it cannot be tried, see `try_batch`."""
    shape = served(cfg)
    # Of several views a batch is made by the policy, which comes first.
    if shape is None or len(shape) != 3 or not all(hasattr(model, part) for part in ('context', 'sites', 'head')):
        return False
    batch = {
        'inputs': torch.zeros(n, *shape, dtype=torch.uint8, device='meta'),
        'labels': torch.zeros(n, dtype=torch.int64, device='meta'),
        'ids': torch.arange(n, device='meta'),
    }
    with (
        building(cfg, 'model.data_preprocessor', (cfg.model.get('data_preprocessor') or {}).get('type')),
        torch.no_grad(),
    ):
        data = model.data_preprocessor(batch, training=True)
    model.train()
    outputs: dict[str, Any] = {'': data['inputs']}
    sites = model.policy.all_sites() - {''}
    handles = [
        model.backbone.get_submodule(site).register_forward_hook(
            lambda _, __, out, site=site: outputs.update({site: out})
        )
        for site in sites
    ]
    place = 'model.backbone'
    with building(cfg, place, f'on images of {shape[1]}x{shape[2]}'), torch.no_grad():
        features = model.backbone(data['inputs'])
    for handle in handles:
        handle.remove()
    if not isinstance(features, Tensor) or features.dim() != 2:
        told = f'puts out {_what(features)}; a head needs (N, D) features: return them pooled, as in x.mean((2, 3))'
        raise InputError(line_of(cfg, place, told))
    with building(cfg, 'model.head', cfg.model.head.get('type')):
        logits = model.head(features)
    with building(cfg, 'model.head.loss'):
        partner = torch.arange(n, device='meta')
        model.head.loss(logits, data['labels'], Mix.pairs(partner, torch.ones(n, device='meta')))
    for site in sites:
        if not isinstance(outputs.get(site), Tensor):
            problem = f'puts out {_what(outputs[site])}' if site in outputs else 'does not run in a forward pass'
            raise InputError(line_of(cfg, 'model.policy.sites', f"site '{site}' {problem}; choose another"))
    _try_policies(cfg, model, outputs, data['labels'])
    return True


def _try_policies(cfg: Config, model: Any, outputs: dict[str, Tensor], labels: Tensor) -> None:
    """Every policy at every site of its own."""
    policies = [part for part in model.policy.modules() if hasattr(part, 'all_sites')]
    leaves = [part for part in policies if sum(hasattr(inner, 'all_sites') for inner in part.modules()) == 1]
    context = model.context(outputs[''], labels)
    for policy in leaves:
        for site in policy.all_sites():
            try:
                policy(outputs[site], context)
            except InputError as error:
                raise InputError(line_of(cfg, 'model.policy', str(error))) from error
            except (NotImplementedError, RuntimeError):
                pass  # it asks for values, which the meta device has none of: the first step will tell


def _what(output: Any) -> str:
    return f'a tensor of {tuple(output.shape)}' if isinstance(output, Tensor) else f'a {type(output).__name__}'


def served(cfg: Config, part: str = 'train') -> tuple[int, ...] | None:
    """The shape of a sample of the data of 'train', 'val' or 'test'; None where only reading would tell."""
    dataset = dict((cfg.get(f'{part}_dataloader') or {}).get('dataset') or {})
    of_dataset = getattr(find(DATASETS, dataset.pop('type')), 'served', None) if dataset else None
    return of_dataset(**dataset) if of_dataset is not None else None
