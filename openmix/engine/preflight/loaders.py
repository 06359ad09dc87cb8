"""Build the loaders and metrics of a recipe on placeholder data sets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset, default_collate, pseudo_collate
from mmengine.runner import Runner

from openmix.engine.blame import building, line_of
from openmix.engine.data_check import group_of
from openmix.engine.foretold import dataset_of
from openmix.errors import InputError
from openmix.registry import FUNCTIONS, METRICS, find

BLANKS = 64
# Collate functions that make a batch from a list of samples.
_OF_SAMPLES = (default_collate, pseudo_collate)
_WRAPPERS = (ClassBalancedDataset, ConcatDataset, RepeatDataset)


@runtime_checkable
class AnswersBatches(Protocol):
    """A data set class that returns whole batches."""

    def __getitems__(self, indices: Sequence[int]) -> Any: ...


class Blanks(torch.utils.data.Dataset):
    """A placeholder for a data set while a loader is tried."""

    def __len__(self) -> int:
        return BLANKS

    def __getitem__(self, index: int) -> int:
        return index


class PoolsOfBlanks(Blanks):
    """A placeholder for a data set of two pools."""

    def __init__(self, ratio: int) -> None:
        self.ratio, self.sizes = ratio, (BLANKS, BLANKS * ratio)

    def __len__(self) -> int:
        return sum(self.sizes)


def batch_size(cfg: Config, part: str) -> int:
    """Return the batch size of 'train', 'val' or 'test'; 1 if the recipe does not set it."""
    return int(cfg[f'{part}_dataloader'].get('batch_size') or 1)


def try_loader(cfg: Config, part: str) -> None:
    """Build the loader of 'train', 'val' or 'test' on a placeholder data set, and its metrics.

    Raises:
        InputError: one of them rejects its arguments, or the sampler never ends an epoch.
    """
    place = f'{part}_dataloader'
    dataset, _ = dataset_of(cfg, part)
    if isinstance(dataset, type) and issubclass(dataset, _WRAPPERS):
        raise InputError(
            line_of(
                cfg,
                f'{place}.dataset',
                f"{dataset.__name__} wraps mmengine's own data sets, not those that answer whole batches; "
                'train for more epochs, or give one data set',
            )
        )
    # The method `__getitems__` of torch's Subset returns a list of samples, not a batch.
    lists = isinstance(dataset, type) and issubclass(dataset, torch.utils.data.Subset)
    whole = isinstance(dataset, AnswersBatches) and not lists
    if whole and find(FUNCTIONS, cfg[place].collate_fn.type) in _OF_SAMPLES:
        line = f"{dataset.__name__} answers whole batches, which are not collated; set type='identity_collate'"
        raise InputError(line_of(cfg, f'{place}.collate_fn', line))
    with building(cfg, place, 'DataLoader'):
        group = group_of(cfg, part)
        blanks = Blanks() if group == 1 else PoolsOfBlanks(group - 1)
        loader = Runner.build_dataloader({**cfg[place], 'dataset': blanks, 'drop_last': False}, seed=0)
        planned = len(loader)
        endless = sum(1 for _ in islice(iter(loader.batch_sampler or ()), planned + 1)) > planned
    loop = (cfg.get(f'{part}_cfg') or {}).get('type', '')
    if endless and loop != 'IterBasedTrainLoop':
        name = cfg[place].sampler.type
        raise InputError(
            line_of(cfg, f'{place}.sampler', f'{name} never ends an epoch; take DefaultSampler, or IterBasedTrainLoop')
        )
    evaluator = cfg.get(f'{part}_evaluator')
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator] if evaluator else []:
        with building(cfg, f'{part}_evaluator', metric.get('type')):
            METRICS.build(metric) if 'type' in metric else [METRICS.build(one) for one in metric.metrics]
