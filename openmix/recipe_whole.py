"""Check a recipe as a whole: keys that must be given together, and keys that only another project reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor

from openmix import registry
from openmix.errors import InputError, brief
from openmix.recipe_numbers import Fault
from openmix.recipe_schema import ELSEWHERE, LEVELS, LOADERS, TOGETHER, UNTYPED

_STOCK = DefaultOptimWrapperConstructor.__name__


def whole(recipe: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield faults of the recipe as a whole: model, scope, log level, and keys that must be given together."""
    if not isinstance(recipe.get('model'), Mapping):
        yield 'model', 'the recipe: model is missing; give it a type, such as dict(type=...)'
    if (scope := recipe.get('default_scope', 'openmix')) != 'openmix':
        yield 'default_scope', f"the recipe: default_scope must be 'openmix', got {brief(scope)}"
    if (level := recipe.get('log_level', 'INFO')) not in LEVELS:
        yield 'log_level', f'the recipe: log_level must be one of {", ".join(LEVELS)}, got {brief(level)}'
    for key, instead in ELSEWHERE.items():
        value = recipe.get(key)
        # A value that also occurs elsewhere in the recipe is a variable that the recipe uses there.
        if value is not None and not any(_holds(other, value) for name, other in recipe.items() if name != key):
            yield key, f'the recipe: {key} is not read here; {instead}'
    for keys in TOGETHER:
        absent = [key for key in keys if recipe.get(key) is None]
        if 0 < len(absent) < len(keys):
            present = [key for key in keys if key not in absent]
            yield (
                present[0],
                f'the recipe has {" and ".join(present)} but no {" and no ".join(absent)}; give all or none',
            )
    yield from _start(recipe.get('weights'))
    if isinstance(draws := recipe.get('randomness'), Mapping) and draws.get('diff_rank_seed') is True:
        yield (
            'randomness.diff_rank_seed',
            'the recipe: randomness.diff_rank_seed would give every process its own split and order of the images; '
            'leave it out, processes draw differently without it',
        )
    for part in LOADERS:
        for key in ('dataset', 'sampler', 'collate_fn'):
            loader = recipe.get(part)
            if isinstance(loader, Mapping) and not isinstance(loader.get(key), Mapping):
                yield f'{part}.{key}', f'{part}: {key} must be a dict with a type, got {brief(loader.get(key))}'
        if isinstance(loader, Mapping) and loader.get('shuffle') is not None:
            yield f'{part}.shuffle', f'{part}: shuffle is not read, the sampler decides: set {part}.sampler.shuffle'
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
    for key in ('parts', 'decay_vectors'):
        if isinstance(options, Mapping) and key in options and _passes_parts_over(optim):
            place = f'optim_wrapper.paramwise_cfg.{key}'
            yield place, f"{place}: only the PartConstructor reads it; set optim_wrapper.constructor='PartConstructor'"


def _start(weights: Any) -> Iterator[Fault]:
    """Yield faults of a recipe's `weights`, which must name what the run starts from."""
    if not isinstance(weights, Mapping) or not weights or not UNTYPED['weights'].issuperset(weights):
        return  # an unknown key is a fault of its own
    for key in ('run', 'file'):
        if not isinstance(weights.get(key), str | None):
            yield f'weights.{key}', f'the recipe: weights.{key} must be text, got {brief(weights[key])}'
    named = [key for key in ('run', 'file') if weights.get(key)]
    if not named:
        yield 'weights', 'the recipe: weights names nothing to start from; give it run or file, or leave it out'
    of_none = [key for key in ('seed', 'data') if weights.get(key) is not None and 'run' not in named]
    if named and of_none:
        yield f'weights.{of_none[0]}', f'the recipe: weights.{of_none[0]} is that of weights.run, which is not given'


def _holds(node: Any, value: Any) -> bool:
    """Return true if a part of a recipe equals or contains a value; a mapping may be contained with further items."""
    if isinstance(node, Mapping):
        if isinstance(value, Mapping) and all(key in node and node[key] == item for key, item in value.items()):
            return True
        return any(_holds(inner, value) for inner in node.values())
    if isinstance(node, (list, tuple)):
        return node == value or any(_holds(inner, value) for inner in node)
    return type(node) is type(value) and node == value


def _passes_parts_over(optim: Any) -> bool:
    """Return true if mmengine's default constructor builds the optimiser, because none or that one is named."""
    try:
        return registry.find(registry.CONSTRUCTORS, optim.get('constructor', _STOCK)) is DefaultOptimWrapperConstructor
    except InputError:
        return False  # the check of optimiser parts reports the unknown name
