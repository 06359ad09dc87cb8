"""Is a data set all there? One line a split, or an error that names what is missing."""

from __future__ import annotations

from typing import Any

import torch

from openmix.data.image_files import ImageFiles
from openmix.errors import InputError
from openmix.registry import DATASETS, find


def describe(cfg: dict[str, Any]) -> str:
    """Build a data set, read every image of it, and say what it holds.

    Args:
        cfg: registry dict of a data set.

    Raises:
        InputError: something is missing, unreadable or empty; or the dict names an unknown type or argument.
    """
    cfg = dict(cfg)
    find(DATASETS, cfg.get('type'))
    try:
        dataset = DATASETS.build(cfg)
    except TypeError as error:
        raise InputError(f'{cfg["type"]}: {error}') from error
    # All others read their images when built.
    if isinstance(dataset, ImageFiles) and getattr(dataset, 'array', None) is None:
        bad = dataset.unreadable()
        if bad:
            more = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
            raise InputError(f'{bad[0]}{more}: not a readable image; replace or remove')
    counts = torch.bincount(dataset.labels, minlength=len(dataset.metainfo['classes']))
    height, width = dataset[0]['inputs'].shape[1:]
    text = (
        f'{len(dataset)} images, served at {height}x{width}, {len(counts)} classes, '
        f'{int(counts.min())} to {int(counts.max())} images a class'
    )
    whole = getattr(dataset, 'OFFICIAL', {}).get(cfg.get('split', 'train'))
    is_part = cfg.get('subset') is not None or bool(cfg.get('val_fraction'))
    return text if whole in (None, len(dataset)) or is_part else f'{text}; the official data set has {whole}'


def splits_of(cfg: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The data sets of a recipe by the loader that reads them; one that several loaders read comes once."""
    found: dict[str, dict[str, Any]] = {}
    for loader in ('train', 'val', 'test'):
        dataset = (cfg.get(f'{loader}_dataloader') or {}).get('dataset')
        if dataset is not None and dataset not in found.values():
            found[loader] = dataset
    if not found:
        raise InputError('the recipe has no data: none of train_dataloader, val_dataloader and test_dataloader')
    return found
