"""Take one training step and one prediction of an algorithm with a batch on the meta device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from openmix.algorithm import Algorithm, Network
from openmix.engine.blame import building, line_of, where_in_model
from openmix.engine.foretold import example_of
from openmix.engine.measures import check_free
from openmix.engine.preflight.meta_draws import complete_meta
from openmix.errors import InputError, from_library, message_of
from openmix.metrics import is_loss
from openmix.ops.batches import what

# Matches torch's errors about operations that need the values of a meta tensor.
_NO_VALUES = re.compile(r'meta (tensor|device|kernel)|device meta|register_meta', re.IGNORECASE)


def try_step(cfg: Config, model: Algorithm, samples: int) -> list[str]:
    """Take a training step in each of the `Algorithm.ways`.

    Args:
        cfg: prepared recipe.
        model: the recipe's model, on the meta device.
        samples: number of samples in the batch.

    Returns:
        one line for each part that could not be tried, with the reason.

    Raises:
        InputError: a part of the model fails on the batch, or its `loss` does not return a dict of scalar losses.
    """
    if type(model).loss is Algorithm.loss:
        raise InputError(line_of(cfg, 'model', f'{type(model).__name__} has no loss; write its method loss(batch)'))
    batch, why = example_of(cfg, 'train', samples)
    if batch is None:
        return [f'a training step is not tried before the run: {why}']
    complete_meta()
    _check_networks(cfg, model)
    model.train()
    notes: list[str] = []
    with _trying(cfg, model, batch, notes):
        model.start()
        model.before_step(0, 1)
    for way in model.ways():
        with _trying(cfg, model, batch, notes), way:
            data = model.data_preprocessor(dict(batch), training=True)
            _check_losses(cfg, model, model(**data, mode='loss'))
    with _trying(cfg, model, batch, notes):
        model.after_step()
    return notes


def try_predict(cfg: Config, model: Algorithm, part: str) -> list[str]:
    """Predict a batch of the data of 'val' or 'test'; see `try_step`.

    Raises:
        InputError: a part of the model fails on the batch, or the prediction lacks one of the `answers`.
    """
    if type(model).predict is Algorithm.predict:
        told = (
            f'{type(model).__name__} answers nothing; write its method predict(batch), or leave {part}_dataloader out'
        )
        raise InputError(line_of(cfg, 'model', told))
    batch, why = example_of(cfg, part, int(cfg[f'{part}_dataloader'].get('batch_size') or 1))
    if batch is None:
        return [f'a prediction is not tried before the run: {why}']
    complete_meta()
    model.eval()
    notes: list[str] = []
    with _trying(cfg, model, batch, notes), torch.no_grad():
        data = model.data_preprocessor(dict(batch), training=False)
        for answer in model(**data, mode='predict'):
            _check_answers(cfg, model, data, answer)
    return notes


@contextmanager
def _trying(cfg: Config, model: Algorithm, batch: Mapping[str, Any], notes: list[str]) -> Iterator[None]:
    """Turn an error of a part of the model into one line, or into a note if only real values can show it.

    Errors raised by the user's own code keep their traceback.
    """
    try:
        yield
    except InputError as error:
        raise InputError(line_of(cfg, where_in_model(cfg, model, error).place, str(error))) from error
    except Exception as error:
        place, module = where_in_model(cfg, model, error)
        text = message_of(error)
        named = f'{place}: {module}' if module else place
        if isinstance(error, (NotImplementedError, RuntimeError, TypeError)) and _NO_VALUES.search(text):
            notes.append(f'{named}: the first step will tell whether it works, not a try without data: {text}')
        elif from_library(error):
            on = ', '.join(part for part in (module, _sizes(batch)) if part)
            raise InputError(line_of(cfg, place, f'{on}: {text}' if on else text)) from error
        else:
            raise


def _sizes(batch: Mapping[str, Any]) -> str:
    """Describe the image sizes of a batch for an error line; '' if it has no images."""
    pools = [one for one in batch.values() if isinstance(one, Mapping)] or [batch]
    images = [pool.get('inputs') for pool in pools]
    found = [one for each in images for one in (each if isinstance(each, (list, tuple)) else [each])]
    sizes = sorted({tuple(one.shape[-2:]) for one in found if isinstance(one, Tensor) and one.dim() > 2})
    return f'on images of {" and ".join(f"{h}x{w}" for h, w in sizes)}' if sizes else ''


def _check_losses(cfg: Config, model: Algorithm, losses: Any) -> None:
    name = f'{type(model).__name__}.loss'
    if not isinstance(losses, Mapping) or not losses:
        got = 'an empty dict' if isinstance(losses, Mapping) else what(losses)
        raise InputError(line_of(cfg, 'model', f"{name} must return a dict of losses, {{'loss': ...}}, got {got}"))
    for key, value in losses.items():
        if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point():
            told = f"{name}: '{key}' must be a floating scalar, got {what(value)}; average it over the batch"
            raise InputError(line_of(cfg, 'model', told))
    with building(cfg, 'model'):
        check_free(losses)
    if not any(is_loss(key) for key in losses):
        told = f"{name}: none of {', '.join(map(repr, losses))} is trained on; call what is 'loss', or '..._loss'"
        raise InputError(line_of(cfg, 'model', told))
    if not any(value.requires_grad for key, value in losses.items() if is_loss(key)):
        told = f'{name}: no loss depends on a trainable parameter; leave out detach() and no_grad() on its way'
        raise InputError(line_of(cfg, 'model', told))


def _check_networks(cfg: Config, model: Algorithm) -> None:
    name, networks = type(model).__name__, model.networks()
    for key, network in networks.items():
        if not isinstance(network, Network):
            told = f"{name}.networks: '{key}' must be a Network(backbone, head), got {what(network)}"
            raise InputError(line_of(cfg, 'model', told))
    if networks and '' not in networks:
        told = f"{name}.networks: none of {', '.join(map(repr, networks))} is '', the one that a run is judged by"
        raise InputError(line_of(cfg, 'model', told))


def _check_answers(cfg: Config, model: Algorithm, data: Mapping[str, Any], answer: Any) -> None:
    name = type(model).__name__
    if not isinstance(answer, Mapping):
        raise InputError(line_of(cfg, 'model', f'{name}.predict must return a dict of answers, got {what(answer)}'))
    if missing := sorted(model.answers - answer.keys()):
        told = ', '.join(map(repr, missing))
        got = ', '.join(map(repr, answer)) or 'nothing'
        raise InputError(line_of(cfg, 'model', f'{name}.answers promises {told}, and its predict gives {got}'))
    for key in ('ids', *(['labels'] if 'logits' in model.answers else [])):
        given, back = data.get(key), answer.get(key)
        if isinstance(given, Tensor) and (not isinstance(back, Tensor) or len(back) != len(given)):
            told = f"{name}.predict must return the '{key}' of the batch, by which metrics tell its samples, got "
            raise InputError(line_of(cfg, 'model', told + (what(back) if key in answer else 'none')))
    count = len(data['ids']) if isinstance(data.get('ids'), Tensor) else None
    for key in sorted(model.answers):
        if isinstance(answer[key], Tensor) and count is not None and answer[key].shape[:1] != (count,):
            told = f"{name}.predict: '{key}' must have a row for each of {count} samples, got {what(answer[key])}"
            raise InputError(line_of(cfg, 'model', told))
