"""Turn errors that libraries raise into one line that names the part of the recipe at fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from openmix.errors import InputError, Stopped, from_library, message_of
from openmix.overrides import origin

_STEPS = {'train': 'a training step', 'val': 'a validation step', 'test': 'a test step'}
# For CPU memory, torch has no error class of its own.
_NO_MEMORY = re.compile("can't allocate memory|not enough memory: you tried|Cannot allocate memory|std::bad_alloc")
_LOST_PEER = re.compile(r'gloo/|NCCL|[Cc]onnection (closed|reset|refused)|Broken pipe')
_LOST_WORKER = re.compile(r'DataLoader worker \(pid\(?s?\)? .*(killed by signal|exited unexpectedly)')


@contextmanager
def building(cfg: Config, place: str, name: Any = '') -> Iterator[None]:
    """Turn an error that a library raises while a part of the recipe is built into one line.

    Errors raised by openmix or by the user's own code keep their traceback.

    Args:
        cfg: the recipe.
        place: dotted key of the part.
        name: name of the class that is built.

    Raises:
        InputError: the part cannot be built from the recipe's arguments.
    """
    try:
        yield
    except InputError as error:
        raise InputError(line_of(cfg, place, str(error))) from error
    except Exception as error:
        if not from_library(error):
            raise
        text = message_of(error)
        named = f'{name}: ' if isinstance(name, str) and name and name not in text[:80] else ''
        raise InputError(line_of(cfg, place, f'{named}{text}')) from error


def line_of(cfg: Config, place: str, text: str) -> str:
    """Write an error line: the dotted key, the text, and the file or option that set the key."""
    node = _node(cfg, place)
    named = [key for key in node if f': {key}' in text] if isinstance(node, dict) else []
    source = origin(cfg, '.'.join([place, *named[:1]])) if place else ''
    where = f'{place}: ' if place and not text.startswith(place) else ''
    return f'{where}{text} (in {source})' if source and ' (in ' not in text else f'{where}{text}'


def _node(cfg: Config, place: str) -> Any:
    """Return the value at a dotted key of a recipe; None if it is not set."""
    node: Any = cfg
    for part in place.split('.') if place else ():
        node = node[int(part)] if isinstance(node, (list, tuple)) else (node or {}).get(part)
    return node


@contextmanager
def stepping(cfg: Config, runner: Runner) -> Iterator[None]:
    """Turn an error that a library raises in a step of training, validation or test into one line; also out of memory.

    Errors raised by openmix, by the user's own code or in hooks keep their traceback.

    Args:
        cfg: the recipe.
        runner: the runner that trains or tests it.

    Raises:
        InputError: a library raised an error; the line names the part of the recipe that called it.
    """
    try:
        yield
    except (InputError, Stopped):
        raise
    except Exception as error:
        line = _line_for(cfg, runner, error)
        if line is None:
            raise
        raise InputError(line) from error


def _line_for(cfg: Config, runner: Runner, error: Exception) -> str | None:
    """Write the line for an error raised by a runner; None if its traceback should be shown."""
    part, place, module = _where(cfg, runner, error)
    text, loader = message_of(error), f'{part}_dataloader'
    kept = ' (optim_wrapper.accumulative_counts keeps the global batch)' if part == 'train' else ''
    if isinstance(error, torch.OutOfMemoryError):
        return line_of(cfg, loader, f'out of memory on the device in {_STEPS[part]}: {text}; lower batch_size{kept}')
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return line_of(cfg, loader, f'out of memory in {_STEPS[part]}: {text}; lower batch_size{kept} or num_workers')
    if _LOST_WORKER.search(text):
        return line_of(cfg, loader, f'{text} If it ran out of memory, lower num_workers or batch_size')
    # A process that lost its peer is not the cause; the peer's own error message is.
    if runner.distributed and _LOST_PEER.search(text):
        return (
            f'process {runner.rank} lost another one, whose own words or its launcher tell why ({text}); '
            'what was saved is kept: repeat the command with --resume'
        )
    if not place or not from_library(error):
        return None
    by = f'{module}: ' if module else ''
    return line_of(cfg, place, f'in {_STEPS[part]}, {by}{text}')


def _where(cfg: Config, runner: Runner, error: BaseException) -> tuple[str, str, str]:
    """Find where in a step an error was raised.

    Returns:
        'train', 'val' or 'test'; the dotted key in the recipe, '' outside a step; and the name of the module in the
        model, '' for none.
    """
    loops = {id(runner._train_loop): 'train', id(runner._val_loop): 'val', id(runner._test_loop): 'test'}
    names, part, found = _names(runner.model), 'train', Where('', '')
    for frame in _frames(error):
        owner = frame.f_locals.get('self')
        if isinstance(owner, BaseLoop):
            part = loops.get(id(owner), part)
        elif isinstance(owner, Hook):
            return part, '', ''
        elif isinstance(owner, (DataLoader, _BaseDataLoaderIter)):
            return part, f'{part}_dataloader', ''
        elif isinstance(owner, (OptimWrapper, torch.optim.Optimizer)):
            found = Where('optim_wrapper', '')
        else:
            found = _in_model(cfg, names, frame) or found
    return part, *found


class Where(NamedTuple):
    """The place in a model that raised an error.

    Attributes:
        place: dotted key in the recipe.
        module: the module below that key and its class, such as 'layer2.0.conv1 (Conv2d)'; '' for none.
    """

    place: str
    module: str


def where_in_model(cfg: Config, model: nn.Module, error: BaseException) -> Where:
    """Find the innermost module whose method was running when an error was raised.

    Args:
        cfg: the recipe.
        model: the model that was built from it.
        error: the error, with its traceback.
    """
    names, found = _names(model), Where('model', '')
    for frame in _frames(error):
        found = _in_model(cfg, names, frame) or found
    return found


def where_built(cfg: Config, place: str, error: BaseException) -> str:
    """Find the innermost dict of a recipe that was being built when an error was raised.

    Args:
        cfg: the recipe.
        place: dotted key of the outermost dict.
        error: the error, with its traceback.
    """
    node = _node(cfg, place)
    for frame in _frames(error):
        given = frame.f_locals.get('cfg')
        if isinstance(given, Mapping) and 'type' in given:
            for inner, one in _typed(node, place):
                # Builders of the outer parts may have added arguments.
                if all(key in given and given[key] == value for key, value in one.items()):
                    place, node = inner, one
                    break
    return place


def _typed(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every dict with a `type` in a part of a recipe, with its dotted key; the outermost first."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield place, node
        for key, value in node.items():
            yield from _typed(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _typed(value, f'{place}.{i}')


def _names(model: nn.Module) -> dict[int, str]:
    """Map the id of every module, and of the dict of its children, which shallow copies share, to its name."""
    names: dict[int, str] = {}
    for name, module in model.named_modules():
        names[id(module)] = names[id(module._modules)] = name
    return names


def _in_model(cfg: Config, names: Mapping[int, str], frame: FrameType) -> Where | None:
    """Find the module of the model whose method a frame runs; None if it runs no such method."""
    owner = frame.f_locals.get('self')
    if not isinstance(owner, nn.Module):
        return None
    name = names.get(id(owner), names.get(id(owner._modules)))
    if name is None:
        return None
    # Wrappers such as DDP prefix the names with 'module.'.
    *_, path = name.rpartition('module.')
    place, node, inner = 'model', cfg.model, path.split('.') if path else []
    while inner and isinstance(below := _below(node, inner[0]), (dict, list, tuple)):
        place, node = f'{place}.{inner.pop(0)}', below
    if not inner and path and frame.f_code.co_name == 'loss':
        return Where(f'{place}.loss', '')
    kind = type(owner).__name__
    return Where(place, f'{".".join(inner)} ({kind})' if inner else kind)


def _below(node: Any, key: str) -> Any:
    if isinstance(node, (list, tuple)):
        return node[int(key)] if key.isdigit() and int(key) < len(node) else None
    return node.get(key)


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next
