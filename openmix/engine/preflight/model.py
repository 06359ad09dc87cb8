"""Build the model of a recipe on the meta device, and check it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from mmengine.config import Config
from torch import nn

from openmix.algorithm import Algorithm, algorithm_of
from openmix.engine.blame import building, line_of, where_built
from openmix.engine.foretold import facts_of
from openmix.errors import InputError, from_library, message_of, nearest
from openmix.registry import MODELS, find


def check_facts(cfg: Config) -> None:
    """Check that the model suits the facts of the training, validation and test data.

    Raises:
        InputError: see `Algorithm.check_facts`.
    """
    algorithm = find(MODELS, cfg.model.get('type'))
    if not (isinstance(algorithm, type) and issubclass(algorithm, Algorithm)):
        return
    for part in ('train', 'val', 'test'):
        if (facts := facts_of(cfg, part)) is not None:
            with building(cfg, 'model'):
                algorithm.check_facts(cfg.model, facts)


def build_model(cfg: Config) -> Algorithm:
    """Build the model of a recipe on the meta device.

    Raises:
        InputError: a part cannot be built, which the line names, or the model is no algorithm with a backbone.
    """
    try:
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
    except InputError as error:
        raise InputError(line_of(cfg, where_built(cfg, 'model', error), str(error))) from error
    except Exception as error:
        if not from_library(error):
            raise
        place, text = where_built(cfg, 'model', error), message_of(error)
        raise InputError(line_of(cfg, place, text)) from error
    with building(cfg, 'model'):
        algorithm = algorithm_of(model)
    if not isinstance(dict(algorithm.named_children()).get('backbone'), nn.Module):
        told = f'{type(algorithm).__name__} has no backbone; call the network that it trains self.backbone'
        raise InputError(line_of(cfg, 'model', told))
    # mmengine's preprocessor stores its device, which building under `torch.device` does not change.
    return algorithm.to('meta')


def check_model(cfg: Config, model: nn.Module) -> None:
    """Check that the `custom_keys` of the optimiser match parameters, and that the weights fit into memory.

    Raises:
        InputError: they do not.
    """
    _check_custom_keys(cfg, [name for name, parameter in model.named_parameters() if parameter.requires_grad])
    size = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**30
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    if size > memory:
        raise InputError(line_of(cfg, 'model', f'its weights take {size:.0f} GiB, this machine has {memory:.0f} GiB'))


def _check_custom_keys(cfg: Config, names: Sequence[str]) -> None:
    """Check that each of the `custom_keys` is a substring of a parameter's name, as mmengine matches them."""
    for key in ((cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}).get('custom_keys') or {}:
        if not any(key in name for name in names):
            modules = {name[:i] for name in names for i, letter in enumerate(name) if letter == '.'}
            line = f"no trainable parameter has '{key}' in its name; {nearest(key, modules)}"
            raise InputError(line_of(cfg, f'optim_wrapper.paramwise_cfg.custom_keys.{key}', line))
