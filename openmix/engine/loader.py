"""Build a loader: mmengine's, with data sets cut by the run's seed, and workers that end with the command."""

from __future__ import annotations

import warnings

import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from openmix.engine.run_seed import cut_by_seed, with_run_seed
from openmix.engine.workers import end_with_command
from openmix.errors import InputError


def build_loader(dataloader: DataLoader | dict, seed: int | None, diff_rank_seed: bool = False) -> DataLoader:
    """Build a loader from its dict.

    Args:
        dataloader: dict of a recipe, or a loader.
        seed: the run's seed.
        diff_rank_seed: mmengine's option, which checks refuse.

    Raises:
        InputError: a batch is larger than a pass, of which nothing would be left.
    """
    if isinstance(dataloader, dict) and cut_by_seed(dataloader['dataset']):
        dataloader = {**dataloader, 'dataset': with_run_seed(dataloader['dataset'], seed)}
    if isinstance(dataloader, dict) and not torch.accelerator.is_available():
        # Without an accelerator, pinning has no effect, and torch warns of it in every epoch.
        dataloader = {**dataloader, 'pin_memory': False}
    # `more_than_cores` warns once for all loaders; torch would warn at every loader.
    warnings.filterwarnings('ignore', 'This DataLoader will create')
    built = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
    if built.drop_last and not len(built):
        raise InputError(
            f'a batch of {built.batch_size} is larger than the {len(built.sampler)} images that a pass gives each '
            'process, and drop_last=True leaves nothing: lower batch_size or leave out drop_last'
        )
    end_with_command(built)
    return built
