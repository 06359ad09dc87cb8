"""Find what is wrong in a resolved recipe before anything is built: names, and types of values.

mmengine accepts an unknown key without a word, or fails deep inside a constructor. Here each dict is
held against the signature of the class or function that its place and `type` name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import mmengine.registry as mm
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from openmix import registry
from openmix.config import origin
from openmix.errors import InputError, brief, check_number, close_to, nearest
from openmix.signatures import arguments, described, fits, hints_of, named

# The key that holds a typed dict, or a list of them, and where its type is looked up.
_SLOTS: dict[str, Registry] = {
    'model': registry.MODELS,
    'data_preprocessor': registry.MODELS,
    'backbone': registry.MODELS,
    'neck': registry.MODELS,
    'head': registry.MODELS,
    'policy': registry.MIXUPS,
    'policies': registry.MIXUPS,
    'loss': registry.LOSSES,
    'dataset': registry.DATASETS,
    'datasets': registry.DATASETS,
    'sampler': registry.DATA_SAMPLERS,
    'batch_sampler': registry.DATA_SAMPLERS,
    'collate_fn': registry.FUNCTIONS,
    'worker_init_fn': registry.FUNCTIONS,
    'augment': registry.TRANSFORMS,
    'pipeline': registry.TRANSFORMS,
    'transforms': registry.TRANSFORMS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'optimizer': registry.OPTIMIZERS,
    'param_scheduler': registry.PARAM_SCHEDULERS,
    'train_cfg': registry.LOOPS,
    'val_cfg': registry.LOOPS,
    'test_cfg': registry.LOOPS,
    'val_evaluator': registry.METRICS,
    'test_evaluator': registry.METRICS,
    'metrics': registry.METRICS,
    'default_hooks': registry.HOOKS,
    'custom_hooks': registry.HOOKS,
    'visualizer': mm.VISUALIZERS,
    'vis_backends': mm.VISBACKENDS,
    'log_processor': mm.LOG_PROCESSORS,
    'model_wrapper_cfg': mm.MODEL_WRAPPERS,
}
# What mmengine builds where the recipe names no type; evaluators and loops also have forms without one.
_DEFAULT_TYPES = {
    'optim_wrapper': 'OptimWrapper',
    'visualizer': 'Visualizer',
    'log_processor': 'LogProcessor',
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
    'model_wrapper_cfg': 'MMDistributedDataParallel',
}
# Keys that a builder takes out before it calls the constructor.
_TAKEN_OUT = {
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'default_hooks': {'priority'},
    'custom_hooks': {'priority'},
}
# Arguments that the builder of a slot hands over itself, or that the data set fills in.
_GIVEN = {
    *('self', 'runner', 'dataloader', 'evaluator', 'optimizer', 'model', 'module', 'params', 'dataset', 'sampler'),
    *('batch_size', 'in_features', 'num_classes', 'mean', 'std', 'save_dir', 'logits', 'y', 'mix', 'param_name'),
}
# Slots of functions that are called with their arguments later.
_CALLED = ('collate_fn', 'worker_init_fn')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_LOADER_KEYS = {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'}
_PARAMWISE = {
    *('lr_mult', 'decay_mult', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult'),
    *('dwconv_decay_mult', 'dcn_offset_lr_mult', 'custom_keys', 'bypass_duplicate'),
    *('parts', 'decay_vectors'),
}
# Dicts that name no type, and their keys.
_UNTYPED = {
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'compile': {'backend', 'mode', 'dynamic'},
    'paramwise_cfg': _PARAMWISE,
    'clip_grad': {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'},
    **dict.fromkeys(_LOADERS, _LOADER_KEYS),
}
_MAX_EPOCHS, _MAX_ITERS = 10**6, 10**9
_LOADER_BOUNDS = {
    'batch_size': (1, 2**20),
    'num_workers': (0, 512),
    'prefetch_factor': (1, 2**10),
    'timeout': (0, 2**20),
    'num_batch_per_epoch': (1, _MAX_ITERS),
}
# Numbers that mmengine and torch take as they come, and then fail on or never end: the bounds of each.
_BOUNDS: dict[str, dict[str, tuple[int, int]]] = {
    'train_cfg': {
        'max_epochs': (1, _MAX_EPOCHS),
        'max_iters': (1, _MAX_ITERS),
        'val_interval': (1, _MAX_ITERS),
        'val_begin': (0, _MAX_ITERS),
    },
    'param_scheduler': {
        'begin': (0, _MAX_ITERS),
        'end': (1, _MAX_ITERS),
        'T_max': (1, _MAX_ITERS),
        'step_size': (1, _MAX_ITERS),
    },
    'randomness': {'seed': (0, 2**32 - 1)},
    'sampler': {'seed': (0, 2**32 - 1)},
    'optim_wrapper': {'accumulative_counts': (1, _MAX_ITERS)},
    'auto_scale_lr': {'base_batch_size': (1, 2**31)},
    'env_cfg': {'resource_limit': (1, 2**20)},
    'mp_cfg': {'opencv_num_threads': (0, 512)},
    **dict.fromkeys(_LOADERS, _LOADER_BOUNDS),
}
_OPTIONAL = ('seed', 'prefetch_factor', 'val_begin', 'T_max')
_SWITCHES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LOADERS, ('pin_memory', 'drop_last', 'shuffle', 'persistent_workers', 'in_order')),
    'randomness': ('diff_rank_seed', 'deterministic'),
    'env_cfg': ('cudnn_benchmark',),
    'auto_scale_lr': ('enable',),
    'compile': ('dynamic',),
    'param_scheduler': ('convert_to_iter_based',),
}
_RUNNER = {name: p for name, p in inspect.signature(Runner.__init__).parameters.items() if name not in ('self', 'cfg')}
# What the runner reads of a recipe beside its own arguments.
_ALSO_READ: dict[str, Any] = {
    **dict.fromkeys(('custom_imports', 'model_wrapper_cfg'), dict),
    'efficient_conv_bn_eval': str | list | None,
    'compile': bool | dict,
    'vis_backends': list,
    'data_on_device': bool,
    'sync_bn': str | None,
    'find_unused_parameters': bool,
}
_LEVELS = ('CRITICAL', 'FATAL', 'ERROR', 'WARN', 'WARNING', 'INFO', 'DEBUG', 'NOTSET')
_TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)

# A place of the recipe, dotted, and what is wrong there.
Fault = tuple[str, str]


def check_recipe(cfg: Config) -> None:
    """Hold every type, argument, known key and value of a resolved recipe against what exists.

    Raises:
        InputError: a name is unknown or a value does not fit; the line says where it stands, which
            file or option set it, and names the nearest valid one.
    """
    for place, fault in _faults(cfg.to_dict()):
        source = origin(cfg, place)
        raise InputError(f'{fault} (in {source})' if source else fault)


def _faults(recipe: Mapping[str, Any]) -> Iterator[Fault]:
    hints = hints_of(Runner.__init__) | _ALSO_READ
    for key, value in recipe.items():
        if key in hints:
            default = _RUNNER[key].default if key in _RUNNER else None
            if not (value is None and default is None) and not fits(value, hints[key]):
                yield key, f'the recipe: {key} must be {described(hints[key])}, got {brief(value)}'
        elif key not in _SLOTS and key not in _UNTYPED:
            known = {*hints, *_UNTYPED} if isinstance(value, Mapping) else set(hints)
            if meant := close_to(key, known, 0.8):
                yield key, f"the recipe has a key '{key}', which nothing reads; did you mean '{meant}'?"
    yield from _whole(recipe)
    # Anything else at the top is a variable of the recipe's own.
    yield from _walk('', '', {key: value for key, value in recipe.items() if key in hints or key in _UNTYPED})


def _whole(recipe: Mapping[str, Any]) -> Iterator[Fault]:
    """What the parts of a recipe need of each other."""
    if not isinstance(recipe.get('model'), Mapping):
        yield 'model', 'the recipe: model is missing; give it a type, such as dict(type=...)'
    if (scope := recipe.get('default_scope', 'openmix')) != 'openmix':
        yield 'default_scope', f"the recipe: default_scope must be 'openmix', got {brief(scope)}"
    if (level := recipe.get('log_level', 'INFO')) not in _LEVELS:
        yield 'log_level', f'the recipe: log_level must be one of {", ".join(_LEVELS)}, got {brief(level)}'
    # The first is mmengine's: it counts batch statistics twice and copies of the model run the original's blocks.
    for key in ('activation_checkpointing', 'grad_checkpointing'):
        if recipe.get(key) is not None:
            yield key, f'the recipe: {key} belongs elsewhere; give model=dict(grad_checkpointing=True)'
    for keys in _TOGETHER:
        absent = [key for key in keys if recipe.get(key) is None]
        if 0 < len(absent) < len(keys):
            present = [key for key in keys if key not in absent]
            yield (
                present[0],
                f'the recipe has {" and ".join(present)} but no {" and no ".join(absent)}; give all or none',
            )
    for part in _LOADERS:
        for key in ('dataset', 'sampler', 'collate_fn'):
            loader = recipe.get(part)
            if isinstance(loader, Mapping) and not isinstance(loader.get(key), Mapping):
                yield f'{part}.{key}', f'{part}: {key} must be a dict with a type, got {brief(loader.get(key))}'
        if isinstance(recipe.get(part), Mapping) and 'batch_size' not in recipe[part]:
            yield part, f'{part}: batch_size is missing'
    optim = recipe.get('optim_wrapper')
    if isinstance(optim, Mapping) and 'constructor' not in optim and not isinstance(optim.get('optimizer'), Mapping):
        given = brief(optim.get('optimizer'))
        yield 'optim_wrapper.optimizer', f'optim_wrapper: optimizer must be a dict with a type, got {given}'
    options = optim.get('paramwise_cfg') if isinstance(optim, Mapping) else None
    for key, value in (('', options), ('.parts', options.get('parts') if isinstance(options, Mapping) else None)):
        if not isinstance(value, Mapping | None):
            place = f'optim_wrapper.paramwise_cfg{key}'
            yield place, f'{place}: must be a dict, got {brief(value)}'


def _walk(path: str, slot: str, node: Any) -> Iterator[Fault]:
    if isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            if slot in _SLOTS and not isinstance(value, (Mapping, list) if slot == 'transforms' else Mapping):
                yield f'{path}.{i}', f'{path}.{i}: must be a dict with a type, got {brief(value)}'
            yield from _walk(f'{path}.{i}', slot, value)
    elif isinstance(node, Mapping):
        # A dict of hooks is named by use, each of its entries is a hook.
        of_hooks = path == 'default_hooks'
        if slot in _SLOTS and not of_hooks:
            yield from _typed(path, slot, node)
        elif slot in _UNTYPED and ('.' not in path or slot not in _LOADERS):
            yield from _untyped(path, slot, node)
        for key, value in node.items():
            inner = 'default_hooks' if of_hooks else str(key)
            if of_hooks and not isinstance(value, (Mapping, type(None))):
                yield f'{path}.{key}', f'{path}.{key}: a hook must be a dict with a type, got {brief(value)}'
            yield from _walk(f'{path}.{key}' if path else str(key), inner, value)


def _typed(path: str, slot: str, node: Mapping[str, Any]) -> Iterator[Fault]:
    if 'type' not in node:
        if slot == 'train_cfg' and 'by_epoch' in node:
            name = 'EpochBasedTrainLoop' if node['by_epoch'] else 'IterBasedTrainLoop'
        elif slot in ('val_evaluator', 'test_evaluator') and 'metrics' in node:
            return
        elif slot in _DEFAULT_TYPES:
            name = _DEFAULT_TYPES[slot]
        else:
            yield path, f'{path}: a type is missing; {nearest("", registry.known_to(_SLOTS[slot]))}'
            return
        node = {'type': name, **{key: value for key, value in node.items() if key != 'by_epoch'}}
    try:
        built = registry.find(_SLOTS[slot], node['type'])
    except InputError as error:
        yield f'{path}.type', f'{path}: {error}'
        return
    taken = _TAKEN_OUT.get(slot, set())
    parameters = arguments(built)
    forwarded = _forwarded(built, node)
    if parameters is not None or forwarded is not None:
        known = {**(forwarded or {}), **(parameters or {})}
        yield from _keys(path, built.__name__, node, {*known, 'type', *taken})
    else:
        known = named(built)
    for name, parameter in known.items():
        if name not in node:
            if parameter.default is parameter.empty and name not in _GIVEN and slot not in _CALLED:
                yield path, f"{path}: {built.__name__} needs '{name}'"
            continue
        yield from _value(f'{path}.{name}', f'{path}: {built.__name__}: {name}', node[name], parameter)
    if slot in ('train_cfg', 'val_cfg', 'test_cfg') and hasattr(built, 'max_iters') != (slot == 'train_cfg'):
        yield f'{path}.type', f'{path}: {built.__name__} does not belong in {slot}'
    yield from _numbers(path, slot, node)


def _forwarded(built: Callable, node: Mapping[str, Any]) -> dict[str, inspect.Parameter] | None:
    """Arguments that a hook accepts as `**kwargs` and hands to something else; None where it does not."""
    if not inspect.isclass(built):
        return None
    if issubclass(built, EMAHook):
        averaged = node.get('ema_type', 'ExponentialMovingAverage')
        inner = arguments(registry.find(registry.MODELS, averaged)) or {}
        return {**{k: v for k, v in inner.items() if k != 'model'}, **named(built)}
    return None


def _untyped(path: str, slot: str, node: Mapping[str, Any]) -> Iterator[Fault]:
    owner = 'the recipe' if '.' not in path else path.rpartition('.')[0]
    yield from _keys(owner, slot, node, _UNTYPED[slot], path)
    yield from _numbers(path, slot, node)


def _keys(where: str, owner: str, node: Mapping[str, Any], known: Iterable[str], path: str = '') -> Iterator[Fault]:
    for key in node:
        if key not in known:
            place = f'{path or where}.{key}'
            yield place, f"{where}: {owner} has no '{key}'; {nearest(str(key), set(known) - {'self', 'type'})}"


def _value(place: str, where: str, value: Any, parameter: inspect.Parameter) -> Iterator[Fault]:
    default, hint = parameter.default, parameter.annotation
    if value is default or (type(value) is type(default) and value == default):
        return
    if hint is not parameter.empty and not fits(value, hint):
        yield place, f'{where} must be {described(hint)}, got {brief(value)}'
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, f'{where} must be finite, got {value}'


def _numbers(path: str, slot: str, node: Mapping[str, Any]) -> Iterator[Fault]:
    for key, (low, high) in _BOUNDS.get(slot, {}).items():
        if key in node and not (node[key] is None and key in _OPTIONAL):
            try:
                check_number(f'{path}: {key}', node[key], low, high)
            except InputError as error:
                yield f'{path}.{key}', str(error)
    for key in _SWITCHES.get(slot, ()):
        if key in node and not isinstance(node[key], bool):
            yield f'{path}.{key}', f'{path}: {key} must be True or False, got {brief(node[key])}'
