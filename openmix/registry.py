"""The registries: children of mmengine's, and openmix's own for policies and losses.

A registry imports the folder it serves on the first look-up, so importing openmix stays cheap and
no file lists another's classes.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import mmengine.registry as mm
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

from openmix.errors import InputError, brief, nearest
from openmix.recipe_file import DECLARED
from openmix.stock import refusal

_get_registered = Registry.get


def _get(self: Registry, key: str) -> Any:
    """Look up a name in a registry and its parents; 'scope.Name' looks in another registry of the same tree.

    mmengine would import any other name as a module path and call it, so a text in a table could run
    `os.system`. Here a path is imported only if a Python recipe declared its module in `custom_imports`.

    Raises:
        InputError: nothing with that name is registered; the line names the nearest name.
    """
    if not isinstance(key, str):
        raise InputError(f'{self.name}: a name must be a text, got {brief(key)}')
    if self is mm.FUNCTIONS and _holds(FUNCTIONS, key):
        # mmengine's runner looks a loader's functions up in its root registry only.
        return _get_registered(FUNCTIONS, key)
    if _holds(self, key):
        return _get_registered(self, key)
    declared = any(key.startswith(f'{module}.') for module in DECLARED)
    if declared and (found := get_object_from_string(key)) is not None:
        return found
    hint = (
        '; to name a class by its path, declare its module with custom_imports in a Python recipe' if '.' in key else ''
    )
    raise InputError(f'unknown {self.name} {brief(key)}{hint}; {nearest(key[:200], known_to(self))}')


def _holds(registry: Registry, key: str) -> bool:
    """Return true if a name is registered, without importing the package of its scope."""
    registry.import_from_location()
    scope, name = registry.split_scope_key(key)
    level: Registry | None = registry
    if scope not in (None, registry.scope):
        level = registry._get_root_registry()._search_child(scope)
    while level is not None:
        level.import_from_location()
        if name in level.module_dict:
            return True
        level = level.parent if scope is None else None
    return False


# Replaced for every registry, because mmengine itself builds nested hooks, loops and transforms.
Registry.get = _get


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='openmix', locations=list(locations))


MODELS = _child('model', mm.MODELS, 'openmix.models', 'openmix.mixups')
DATASETS = _child('dataset', mm.DATASETS, 'openmix.data')
DATA_SAMPLERS = _child('data sampler', mm.DATA_SAMPLERS, 'openmix.data')
TRANSFORMS = _child('transform', mm.TRANSFORMS, 'openmix.data', 'mmcv.transforms')
FUNCTIONS = _child('function', mm.FUNCTIONS, 'openmix.data')
METRICS = _child('metric', mm.METRICS, 'openmix.evaluation')
HOOKS = _child('hook', mm.HOOKS, 'openmix.engine', 'openmix.evaluation')
LOOPS = _child('loop', mm.LOOPS, 'openmix.engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', mm.OPTIM_WRAPPERS, 'openmix.engine')
OPTIMIZERS = _child('optimizer', mm.OPTIMIZERS, 'openmix.engine')
CONSTRUCTORS = _child('optimizer constructor', mm.OPTIM_WRAPPER_CONSTRUCTORS, 'openmix.engine')
PARAM_SCHEDULERS = _child('parameter scheduler', mm.PARAM_SCHEDULERS, 'openmix.engine')

# Empty child registries, because mmengine warns on every build in a scope that has none.
for _root in (
    mm.EVALUATOR,
    mm.LOG_PROCESSORS,
    mm.MODEL_WRAPPERS,
    mm.RUNNERS,
    mm.TASK_UTILS,
    mm.VISBACKENDS,
    mm.VISUALIZERS,
    mm.WEIGHT_INITIALIZERS,
):
    _child(_root.name, _root)

# No child of MODELS, because a registry can have only one child per scope.
MIXUPS = Registry('mixup', scope='openmix', locations=['openmix.mixups'])


# The arguments of a loss that its caller gives, and no recipe.
CALLED_WITH = frozenset({'logits', 'y', 'mix', 'rows', 'keys', 'classes', 'key_classes'})


def _bind_loss(cfg: dict, registry: Registry) -> Any:
    """Build a loss as a function: `dict(type='decoupled_ce', eta=0.1)` becomes a `functools.partial`."""
    kwargs = dict(cfg)
    loss = find(registry, kwargs.pop('type', None))
    # After (logits, y, mix); the weights of samples come from the caller too.
    known = [name for name in list(inspect.signature(loss).parameters)[3:] if name not in CALLED_WITH]
    for key in kwargs:
        if key not in known:
            raise InputError(f"loss '{loss.__name__}' has no option '{key}'; {nearest(key, known)}")
    return functools.partial(loss, **kwargs)


LOSSES = Registry('loss', scope='openmix', locations=['openmix.losses'], build_func=_bind_loss)


@dataclass(frozen=True, eq=False)
class Built:
    """Mark an annotated parameter as a dict with a `type` that `registry` builds.

    Attributes:
        registry: the registry that builds it.
        given: arguments that the owner of the parameter, or the data set, fills in where the dict lacks them.
        default: the type that is built where the dict names none; '': it must name one.
    """

    registry: Registry
    given: frozenset[str] = frozenset()
    default: str = ''


ModelConfig = Annotated[dict, Built(MODELS)]
PolicyConfig = Annotated[dict, Built(MIXUPS)]
BankConfig = Annotated[dict, Built(MODELS, frozenset({'width'}))]
HeadConfig = Annotated[dict, Built(MODELS, frozenset({'in_features', 'num_classes'}))]
PreprocessorConfig = Annotated[dict, Built(MODELS, frozenset({'mean', 'std'}))]
LossConfig = Annotated[dict, Built(LOSSES, CALLED_WITH)]
TransformConfig = Annotated[dict, Built(TRANSFORMS)]
DatasetConfig = Annotated[dict, Built(DATASETS)]


def known_to(of: Registry) -> set[str]:
    """Return every name in a registry or its parents."""
    known: set[str] = set()
    level: Registry | None = of
    while level is not None:
        level.import_from_location()
        known |= level.module_dict.keys()
        level = level.parent
    return known


def find(registry: Registry, name: Any) -> Any:
    """Return the registered object with a name; a class or function is returned as it is.

    Raises:
        InputError: nothing with that name is registered, and the line names the nearest name; or it is a class of
            mmengine that openmix refuses, see `openmix.stock`.
    """
    found = name if callable(name) else registry.get(name)
    if (why := refusal(registry.name, found)) is not None:
        raise InputError(f"mmengine's {found.__name__} does not fit here: {why}")
    return found
