"""Take some of a recipe's test images, for figures of single images."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.config import Config

from openmix.errors import InputError
from openmix.registry import DATASETS, find


def of_some_images(cfg: Config, count: int | None, command: str) -> tuple[Config, list[str]]:
    """Return a recipe whose test data are this number of its images, and the names of their classes.

    A data set without a `subset` keeps all of its images.

    Args:
        cfg: prepared recipe, changed in place.
        count: number of images, balanced over the classes; None: all.
        command: what needs them, for messages.

    Raises:
        InputError: there are no test data, or they cannot be read or have fewer images.
    """
    if cfg.get('test_dataloader') is None:
        raise InputError(f'the recipe has no test_dataloader, which says what {command} draws')
    dataset = cfg.test_dataloader.dataset
    if count is not None and 'subset' in inspect.signature(find(DATASETS, dataset['type'])).parameters:
        dataset.subset = count
    built: Any = DATASETS.build(dict(dataset))
    return cfg, list(built.known.classes)
