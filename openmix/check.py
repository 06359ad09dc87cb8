"""Find mistyped names in a resolved recipe before anything is built.

mmengine accepts an unknown key without a word, or fails deep inside a constructor. Here each dict is
held against the signature of the class or function that its place and `type` name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import mmengine.registry as mm
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from openmix import registry
from openmix.errors import InputError, close_to, nearest

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
    'augment': registry.TRANSFORMS,
    'pipeline': registry.TRANSFORMS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'optimizer': mm.OPTIMIZERS,
    'param_scheduler': mm.PARAM_SCHEDULERS,
    'train_cfg': registry.LOOPS,
    'val_cfg': registry.LOOPS,
    'test_cfg': registry.LOOPS,
    'val_evaluator': registry.METRICS,
    'test_evaluator': registry.METRICS,
    'default_hooks': registry.HOOKS,
    'custom_hooks': registry.HOOKS,
    'visualizer': mm.VISUALIZERS,
    'vis_backends': mm.VISBACKENDS,
}
# Keys that a builder takes out before it calls the constructor.
_TAKEN_OUT = {
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'train_cfg': {'by_epoch'},
    'default_hooks': {'priority'},
    'custom_hooks': {'priority'},
}
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_LOADER_KEYS = {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'}
_UNTYPED = {
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    **dict.fromkeys(_LOADERS, _LOADER_KEYS),
}
_TOP_LEVEL = {*inspect.signature(Runner.__init__).parameters, *_SLOTS, *_UNTYPED, 'custom_imports', 'model_wrapper_cfg'}


def check_names(cfg: Config) -> None:
    """Hold every type, argument and known key of a resolved recipe against what exists.

    Raises:
        InputError: a name is unknown; the line says where and names the nearest valid one.
    """
    recipe = cfg.to_dict()
    for key, value in recipe.items():
        if key not in _TOP_LEVEL and isinstance(value, Mapping) and (meant := close_to(key, _TOP_LEVEL)):
            raise InputError(f"the recipe has a key '{key}', which nothing reads; did you mean '{meant}'?")
        if key in _UNTYPED and isinstance(value, Mapping):
            _check_keys('the recipe', key, value, _UNTYPED[key])
    _walk('', '', recipe)


def _walk(path: str, slot: str, node: Any) -> None:
    if isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            _walk(f'{path}.{i}', slot, value)
    elif isinstance(node, Mapping):
        if slot in _SLOTS and 'type' in node:
            _check_typed(path, slot, node)
        for key, value in node.items():
            # A dict of hooks is named by use, each of its entries is a hook.
            inner = slot if slot == 'default_hooks' and 'type' not in node else str(key)
            _walk(f'{path}.{key}' if path else str(key), inner, value)


def _check_typed(path: str, slot: str, node: Mapping[str, Any]) -> None:
    try:
        built = registry.find(_SLOTS[slot], node['type'])
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    known = arguments(built)
    if known is not None:
        _check_keys(path, built.__name__, node, known | {'type'} | _TAKEN_OUT.get(slot, set()))


def _check_keys(path: str, owner: str, node: Mapping[str, Any], known: set[str]) -> None:
    for key in node:
        if key not in known:
            raise InputError(f"{path}: {owner} has no '{key}'; {nearest(str(key), known - {'self', 'type'})}")


def arguments(built: Callable) -> set[str] | None:
    """Names of the arguments of a class or function; None where it takes any.

    A class with `**kwargs` passes them on to the next constructor in its order of inheritance.
    """
    if not inspect.isclass(built):
        named, is_open = _named(built)
        return None if is_open else named
    known: set[str] = set()
    for cls in built.__mro__:
        if cls is object:
            break
        if '__init__' in vars(cls):
            named, is_open = _named(vars(cls)['__init__'])
            known |= named
            if not is_open:
                return known
    return None


def _named(function: Callable) -> tuple[set[str], bool]:
    """Names that can be given, and whether any other can too."""
    parameters = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter
    named = {p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    return named, any(p.kind is kinds.VAR_KEYWORD for p in parameters)
