"""Check the names and the types of values in a resolved recipe before anything is built.

mmengine ignores an unknown key silently, or fails deep inside a constructor. Here each dict is checked
against the signature of the class or function that its key and `type` name.
"""

from __future__ import annotations

import collections.abc
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import Registry
from mmengine.runner import Runner, TestLoop, ValLoop

from openmix import registry
from openmix.errors import InputError, brief, close_to, nearest
from openmix.overrides import origin
from openmix.recipe_keys import ALSO_READ
from openmix.recipe_numbers import Fault, numbers, rates
from openmix.recipe_schema import (
    CALLED,
    DEFAULT_TYPES,
    GIVEN,
    HANDED,
    LIBRARY_PARTS,
    LOADER_PARTS,
    LOADERS,
    MARKED,
    RUNNER,
    SLOTS,
    TAKEN_OUT,
    UNTYPED,
)
from openmix.recipe_whole import whole
from openmix.signatures import arguments, described, fits, hints_of, named


def check_recipe(cfg: Config) -> None:
    """Check every type, argument, key and value of a resolved recipe.

    Raises:
        InputError: a name is unknown or a value does not fit; the line gives the dotted key, the file or
            option that set it, and the nearest valid name.
    """
    for of in SLOTS.values():
        of.import_from_location()  # a file that cannot be imported is no fault of the recipe
    for place, fault in _faults(cfg.to_dict()):
        source = origin(cfg, place)
        raise InputError(f'{fault} (in {source})' if source else fault)


def declared_types(cfg: Config) -> dict[str, Any]:
    """Map every dotted key to the annotation of the parameter that takes its value; None if it has no annotation."""
    types: dict[str, Any] = hints_of(Runner.__init__) | ALSO_READ
    for _ in _root(cfg.to_dict(), types):
        pass
    return types


def is_read(key: str) -> bool:
    """Return true if a top-level key of a recipe is read; other keys are variables of the recipe."""
    return key in hints_of(Runner.__init__) or key in ALSO_READ or key in UNTYPED


def _faults(recipe: Mapping[str, Any]) -> Iterator[Fault]:
    hints = hints_of(Runner.__init__) | ALSO_READ
    for key, value in recipe.items():
        if key in hints:
            default = RUNNER[key].default if key in RUNNER else None
            if isinstance(value, {'default_hooks': Mapping, 'custom_hooks': list}.get(key, ())):
                continue  # `_root` names the wrong hook
            if not (value is None and default is None) and not fits(value, hints[key]):
                yield key, f'the recipe: {key} must be {described(hints[key])}, got {brief(value)}'
        elif key not in SLOTS and key not in UNTYPED:
            known = {*hints, *UNTYPED} if isinstance(value, Mapping) else set(hints)
            if meant := close_to(key, known, 0.8):
                yield key, f"the recipe has a key '{key}', which nothing reads; did you mean '{meant}'?"
    yield from whole(recipe)
    yield from _root(recipe, {})


def _root(recipe: Mapping[str, Any], types: dict[str, Any]) -> Iterator[Fault]:
    """Yield faults of the parts that the runner builds or reads; other top-level names are variables of the recipe."""
    for key, value in recipe.items():
        if key == 'default_hooks':
            for name, hook in value.items() if isinstance(value, Mapping) else ():
                place = f'{key}.{name}'
                if isinstance(hook, Mapping):
                    yield from _typed(place, key, registry.HOOKS, hook, types)
                elif hook is not None:
                    yield place, f'{place}: a hook must be a dict with a type, got {brief(hook)}'
        elif key in SLOTS:
            yield from _part(key, key, SLOTS[key], value, types, MARKED.get(key))
        elif key in UNTYPED:
            yield from _untyped(key, key, value, types)


def _part(path: str, slot: str, of: Registry, node: Any, types: dict[str, Any], hint: Any = None) -> Iterator[Fault]:
    """Yield faults of a dict that a registry builds, or of a list of them; other values are checked by signature."""
    lists = slot == 'transforms' or _holds_parts(hint, collections.abc.Sequence, 2)
    if isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            if not isinstance(value, (Mapping, list, tuple) if lists else Mapping):
                yield f'{path}.{i}', f'{path}.{i}: must be a dict with a type, got {brief(value)}'
            yield from _part(f'{path}.{i}', slot, of, value, types, hint)
    elif isinstance(node, Mapping) and 'type' not in node and _holds_parts(hint, collections.abc.Mapping, 1):
        for name, value in node.items():
            yield from _part(f'{path}.{name}', slot, of, value, types, hint)
    elif isinstance(node, Mapping):
        yield from _typed(path, slot, of, node, types, hint)


def builders_of(built: Callable, known: Mapping[str, inspect.Parameter]) -> dict[str, registry.Built]:
    """Find the arguments of a class or function that are built by a registry, with the mark that names it."""
    found = {name: mark for name, p in known.items() if (mark := _mark(p.annotation)) is not None}
    for cls, parts in LIBRARY_PARTS:
        if inspect.isclass(built) and issubclass(built, cls):
            found |= {name: registry.Built(of) for name, of in parts.items()}
    return found


def _mark(hint: Any) -> registry.Built | None:
    """Return the mark of an annotation, or of a part of it, that says which registry builds it; None without one."""
    marked = hint.__metadata__ if typing.get_origin(hint) is typing.Annotated else ()
    marks = [mark for mark in marked if isinstance(mark, registry.Built)]
    inner = [mark for arg in typing.get_args(hint) if (mark := _mark(arg)) is not None]
    return next(iter([*marks, *inner]), None)


def _holds_parts(hint: Any, container: type, depth: int) -> bool:
    """Tell whether an annotation takes parts that are built inside of so many such containers."""
    inner = typing.get_args(hint)
    left = depth - (typing.get_origin(hint) is container)
    return _mark(hint) is not None if left == 0 else any(_holds_parts(one, container, left) for one in inner)


def _typed(
    path: str, slot: str, of: Registry, node: Mapping[str, Any], types: dict[str, Any], hint: Any = None
) -> Iterator[Fault]:
    types[f'{path}.type'] = str
    if 'type' not in node:
        if slot == 'train_cfg' and 'by_epoch' in node:
            name = 'EpochBasedTrainLoop' if node['by_epoch'] else 'IterBasedTrainLoop'
        elif slot in ('val_evaluator', 'test_evaluator') and 'metrics' in node:
            yield from _part(f'{path}.metrics', slot, of, node['metrics'], types)
            return
        elif slot in DEFAULT_TYPES:
            name = DEFAULT_TYPES[slot]
        elif (given := _mark(hint)) is not None and given.default:
            name = given.default
        else:
            yield path, f'{path}: a type is missing; {nearest("", registry.known_to(of))}'
            return
        node = {'type': name, **{key: value for key, value in node.items() if key != 'by_epoch'}}
    try:
        built = registry.find(of, node['type'])
    except InputError as error:
        yield f'{path}.type', f'{path}: {error}'
        return
    taken, mark = TAKEN_OUT.get(slot, set()), _mark(hint)
    filled_in = GIVEN | (mark.given if mark is not None else frozenset())
    parameters = arguments(built)
    forwarded = _forwarded(built, node)
    if parameters is not None or forwarded is not None:
        known = {**(forwarded or {}), **(parameters or {})}
        for name in HANDED.get(slot, frozenset()) & known.keys():
            known.pop(name)
        yield from _keys(path, built.__name__, node, {*known, 'type', *taken})
    else:
        known = named(built)
    for name, parameter in known.items():
        types[f'{path}.{name}'] = None if parameter.annotation is parameter.empty else parameter.annotation
        if name not in node:
            if parameter.default is parameter.empty and name not in filled_in and slot not in CALLED:
                yield path, f"{path}: {built.__name__} needs '{name}'"
            continue
        yield from _value(f'{path}.{name}', f'{path}: {built.__name__}: {name}', node[name], parameter)
    if slot == 'batch_sampler' and parameters is not None and not {'sampler', 'batch_size'} <= parameters.keys():
        yield f'{path}.type', f'{path}: {built.__name__} draws single samples, no batches; set it as sampler'
    if slot in ('train_cfg', 'val_cfg', 'test_cfg') and hasattr(built, 'max_iters') != (slot == 'train_cfg'):
        yield f'{path}.type', f'{path}: {built.__name__} does not belong in {slot}'
    # Both loops evaluate, but hooks record a validation during training, and commands record a test.
    for other, loop in (('test_cfg', ValLoop), ('val_cfg', TestLoop)):
        if slot == other and inspect.isclass(built) and issubclass(built, loop):
            yield f'{path}.type', f'{path}: {built.__name__} does not belong in {slot}'
    yield from numbers(path, slot, node, types)
    for key, inner in builders_of(built, known).items():
        hint = known[key].annotation if key in known else None
        yield from _part(f'{path}.{key}', key, inner.registry, node.get(key), types, hint)
    if slot == 'optim_wrapper':
        for key in ('paramwise_cfg', 'clip_grad'):
            yield from _untyped(f'{path}.{key}', key, node.get(key), types)


def _forwarded(built: Callable, node: Mapping[str, Any]) -> dict[str, inspect.Parameter] | None:
    """Return the arguments that a hook accepts as `**kwargs` and passes on; None for all other classes."""
    if not inspect.isclass(built):
        return None
    if issubclass(built, EMAHook):
        averaged = node.get('ema_type', 'ExponentialMovingAverage')
        inner = arguments(registry.find(registry.MODELS, averaged)) or {}
        return {**{k: v for k, v in inner.items() if k != 'model'}, **named(built)}
    return None


def _untyped(path: str, slot: str, node: Any, types: dict[str, Any]) -> Iterator[Fault]:
    """Yield faults of a dict that has no type but known keys; the values of these keys are not checked by type."""
    if not isinstance(node, Mapping):
        return
    owner = 'the recipe' if '.' not in path else path.rpartition('.')[0]
    yield from _keys(owner, slot, node, UNTYPED[slot], path)
    yield from numbers(path, slot, node, types)
    for key, of in LOADER_PARTS.items() if slot in LOADERS else ():
        yield from _part(f'{path}.{key}', key, of, node.get(key), types)
    if slot == 'env_cfg':
        for key in ('mp_cfg', 'dist_cfg'):
            if key in node and not isinstance(node[key], Mapping):
                yield f'{path}.{key}', f'{path}: {key} must be a dict, got {brief(node[key])}'
        yield from _untyped(f'{path}.mp_cfg', 'mp_cfg', node.get('mp_cfg'), types)
    if slot == 'paramwise_cfg':
        yield from _custom_keys(f'{path}.custom_keys', node.get('custom_keys'))
        parts = node.get('parts')
        for name, part in parts.items() if isinstance(parts, Mapping) else ():
            if isinstance(part, Mapping):
                yield from _untyped(f'{path}.parts.{name}.clip_grad', 'clip_grad', part.get('clip_grad'), types)


def _custom_keys(path: str, node: Any) -> Iterator[Fault]:
    """Yield keys that mmengine's optimiser constructor would silently ignore."""
    for name, options in node.items() if isinstance(node, Mapping) else ():
        if isinstance(options, Mapping):
            yield from _keys(path, name, options, ('lr_mult', 'decay_mult'), f'{path}.{name}')
            yield from rates(f'{path}.{name}', 'custom_keys', options)
        else:
            yield f'{path}.{name}', f'{path}.{name}: must be a dict, got {brief(options)}'


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
