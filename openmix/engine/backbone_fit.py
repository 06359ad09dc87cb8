"""Check before any training that a run's backbone can take the weights of the stage before it."""

from __future__ import annotations

import copy

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from openmix.algorithm import Algorithm, algorithm_of
from openmix.engine.initial_weights import judged_backbone
from openmix.engine.launch import fill_from_data
from openmix.errors import InputError
from openmix.registry import MODELS


def check_backbones(cfg: Config, earlier: Config, named: str) -> None:
    """Compare a recipe's backbone with the one that an earlier stage leaves, by the names and shapes of weights.

    Args:
        cfg: the recipe.
        earlier: the recipe of the earlier stage.
        named: how the error line calls the earlier stage.

    Raises:
        InputError: they differ. Models that cannot be built here are left to their runs.
    """
    own, given = _shapes(cfg, judged=False), _shapes(earlier, judged=True)
    if own is None or given is None or own == given:
        return
    key = next(key for key in [*own, *given] if own.get(key) != given.get(key))
    here, there = (str(tuple(found[key])) if key in found else 'missing' for found in (own, given))
    raise InputError(
        f"the backbone of {named} does not fit: its '{key}' is {there}, and {here} in the stage that starts from it; "
        'give both the same model.backbone'
    )


def built_on_meta(cfg: Config) -> Algorithm | None:
    """Build the algorithm of a recipe on the meta device; None if it cannot be built here.

    The check of the recipe says why, when its run starts.
    """
    cfg = copy.deepcopy(cfg)
    init_default_scope('openmix')
    if 'pretrained' in cfg.model.get('backbone', {}):
        cfg.model.backbone.pretrained = False
    try:
        with torch.device('meta'):
            return algorithm_of(MODELS.build(fill_from_data(cfg).model))
    except Exception:  # whatever it lacks, those who ask go on without it
        return None


def _shapes(cfg: Config, judged: bool) -> dict[str, torch.Size] | None:
    """Return the shapes of a backbone's weights by name; None if the model cannot be built here.

    Args:
        cfg: the recipe.
        judged: take the backbone of the evaluated network, whose weights the next stage gets.
    """
    algorithm = built_on_meta(cfg)
    name = None if algorithm is None else judged_backbone(algorithm) if judged else 'backbone'
    if algorithm is None or name is None:
        return None
    weights = algorithm.get_submodule(name).state_dict()
    # The step counter of batch norm may be missing in weights.
    return {key: one.shape for key, one in weights.items() if not key.endswith('num_batches_tracked')}
