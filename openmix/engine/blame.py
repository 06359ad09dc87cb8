"""Whose fault is an error? What a library refuses becomes a line that names the part of the recipe."""

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

from openmix.config import origin
from openmix.errors import InputError, Stopped, from_library, message_of

_STEPS = {'train': 'a training step', 'val': 'a validation step', 'test': 'a test step'}
# Of the host, torch raises no error of its own kind.
_NO_MEMORY = re.compile("can't allocate memory|not enough memory: you tried|Cannot allocate memory|std::bad_alloc")
_LOST_PEER = re.compile(r'gloo/|NCCL|[Cc]onnection (closed|reset|refused)|Broken pipe')
_LOST_WORKER = re.compile(r'DataLoader worker \(pid\(?s?\)? .*(killed by signal|exited unexpectedly)')


@contextmanager
def building(cfg: Config, place: str, name: Any = '') -> Iterator[None]:
    """One line for what a library refuses while a part of the recipe is built.

    Only errors that a library raises are the recipe's fault; those of openmix or of the user's own
    code keep their traceback.

    Args:
        cfg: the recipe.
        place: dotted place of the part.
        name: of the class that is built.

    Raises:
        InputError: the part cannot be built as the recipe says.
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
    """An error line with its place in front and what set it behind."""
    node = _node(cfg, place)
    named = [key for key in node if f': {key}' in text] if isinstance(node, dict) else []
    source = origin(cfg, '.'.join([place, *named[:1]])) if place else ''
    where = f'{place}: ' if place and not text.startswith(place) else ''
    return f'{where}{text} (in {source})' if source and ' (in ' not in text else f'{where}{text}'


def _node(cfg: Config, place: str) -> Any:
    """What a recipe has at a dotted place; None where it says nothing."""
    node: Any = cfg
    for part in place.split('.') if place else ():
        node = node[int(part)] if isinstance(node, (list, tuple)) else (node or {}).get(part)
    return node


@contextmanager
def stepping(cfg: Config, runner: Runner) -> Iterator[None]:
    """One line for what a library refuses in a step of training, validation or test, and for too little memory.

    Errors of openmix or of the user's own code keep their traceback, and so do those of hooks.

    Args:
        cfg: the recipe.
        runner: what trains or tests it.

    Raises:
        InputError: a library refused; the line names the part of the recipe that called it.
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
    """The line for an error that left a runner; None where a traceback tells more."""
    part, place, module = _where(cfg, runner, error)
    text, loader = message_of(error), f'{part}_dataloader'
    kept = ' (optim_wrapper.accumulative_counts keeps the global batch)' if part == 'train' else ''
    if isinstance(error, torch.OutOfMemoryError):
        return line_of(cfg, loader, f'out of memory on the device in {_STEPS[part]}: {text}; lower batch_size{kept}')
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return line_of(cfg, loader, f'out of memory in {_STEPS[part]}: {text}; lower batch_size{kept} or num_workers')
    if _LOST_WORKER.search(text):
        return line_of(cfg, loader, f'{text} If it ran out of memory, lower num_workers or batch_size')
    # Of a process whose peer is gone nothing is to blame: what that one said tells why.
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
        'train', 'val' or 'test'; the place in the recipe, '' outside of a step; and the module by its name in the
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
    """Where a model was at work.

    Attributes:
        place: dotted, in the recipe.
        module: the module below that place and its class, such as 'layer2.0.conv1 (Conv2d)'; '' for none.
    """

    place: str
    module: str


def where_in_model(cfg: Config, model: nn.Module, error: BaseException) -> Where:
    """Find the innermost module that was at work when an error was raised.

    Args:
        cfg: the recipe.
        model: what its `model` was built to.
        error: with its traceback.
    """
    names, found = _names(model), Where('model', '')
    for frame in _frames(error):
        found = _in_model(cfg, names, frame) or found
    return found


def where_built(cfg: Config, place: str, error: BaseException) -> str:
    """Find the innermost dict of a recipe that was being built when an error was raised.

    Args:
        cfg: the recipe.
        place: dotted place of the outermost one.
        error: with its traceback.
    """
    node = _node(cfg, place)
    for frame in _frames(error):
        given = frame.f_locals.get('cfg')
        if isinstance(given, Mapping) and 'type' in given:
            for inner, one in _typed(node, place):
                # Arguments may have been added on the way.
                if all(key in given and given[key] == value for key, value in one.items()):
                    place, node = inner, one
                    break
    return place


def _typed(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dict with a type inside of a part of a recipe, with its place; the outermost first."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield place, node
        for key, value in node.items():
            yield from _typed(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _typed(value, f'{place}.{i}')


def _names(model: nn.Module) -> dict[int, str]:
    """The name of every module, by its id and by that of its children's dict, which shallow copies share."""
    names: dict[int, str] = {}
    for name, module in model.named_modules():
        names[id(module)] = names[id(module._modules)] = name
    return names


def _in_model(cfg: Config, names: Mapping[int, str], frame: FrameType) -> Where | None:
    """The module whose method a frame runs; None where it runs none of the model's."""
    owner = frame.f_locals.get('self')
    if not isinstance(owner, nn.Module):
        return None
    name = names.get(id(owner), names.get(id(owner._modules)))
    if name is None:
        return None
    # What wraps the model has names of its own in front.
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
