"""What a checkpoint tells of its use: the model, and how validation images are prepared."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.engine.foretold import served
from openmix.errors import InputError

# The entry of a published file's metadata; a run's checkpoint has its whole recipe instead.
INFERENCE = 'inference'
_FILE = 'checkpoint'
_SOURCES = ('pretrained', _FILE, 'weights')


def inference_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what using a network takes from a resolved recipe, without paths of the machine that trained it.

    Args:
        recipe: the recipe as plain data, completed by the training data.

    Returns:
        `model`: registry dict of the algorithm, of whose parts none takes its weights from a file. `pipeline`:
        transforms of one validation image, or None. `size`: (H, W) of a validation image, or None if only its file
        tells.

    Raises:
        InputError: a part has another type.
    """
    model = recipe.get('model')
    if not isinstance(model, Mapping):
        raise InputError(f'a recipe has a dict as its model, this one a {type(model).__name__}')
    model = _without_files(copy.deepcopy(dict(model)))
    backbone = model.get('backbone')
    if isinstance(backbone, dict):
        for source in _SOURCES:
            backbone.pop(source, None)
    preprocessor = model.get('data_preprocessor')
    if isinstance(preprocessor, dict):
        preprocessor.pop('augment', None)  # of training images alone
    part = 'val' if recipe.get('val_dataloader') else 'test'
    dataset = (recipe.get(f'{part}_dataloader') or {}).get('dataset') or {}
    return {'model': model, 'pipeline': dataset.get('pipeline'), 'size': _size(recipe, part)}


def _without_files(node: Any) -> Any:
    """Return a part of a recipe without the files that parts take their weights from."""
    if isinstance(node, Mapping):
        return {k: _without_files(v) for k, v in node.items() if not (k == _FILE and isinstance(v, str | Path))}
    return [_without_files(one) for one in node] if isinstance(node, list) else node


def _size(recipe: Mapping[str, Any], part: str) -> list[int] | None:
    try:
        shape = served(Config({f'{part}_dataloader': recipe.get(f'{part}_dataloader')}), part)
    except InputError:  # a data set of one's own, or files that are not here
        return None
    return None if shape is None else list(shape[-2:])
