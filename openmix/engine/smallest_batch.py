"""The last batch of an epoch, which may be smaller than all others, tried before the first step."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.utils.data import BatchSampler, DataLoader

from openmix.engine.trial import try_batch
from openmix.errors import InputError


def left_over(loader: DataLoader) -> int:
    """Count the samples of the last batch of an epoch where it is smaller than the others; 0 where it is not.

    A batch sampler that is not torch's may make batches of any size, and counts as even.
    """
    batches = loader.batch_sampler
    if not isinstance(batches, BatchSampler) or batches.drop_last:
        return 0
    return len(batches.sampler) % batches.batch_size  # type: ignore[arg-type]


def try_smallest_batch(cfg: Config, loader: DataLoader, processes: int) -> None:
    """Take a step on the meta device with one image, if the last batch of an epoch has no more.

    Args:
        cfg: prepared recipe.
        loader: of the training data, as this process reads them.
        processes: how many read as many.

    Raises:
        InputError: a part of the model refuses so small a batch, as batch norm does one image of 1 x 1.
    """
    # `try_parts` took a step with two; what refuses more than that by their number refuses it at the first step.
    if left_over(loader) != 1:
        return
    each = ' in each process' if processes > 1 else ''
    told = f'train_dataloader: the last batch of an epoch has 1 image{each}, not {loader.batch_size}'
    try:
        # Batch norm over all processes sees one of each.
        tried = try_batch(cfg, processes if cfg.get('sync_bn') else 1)
    except InputError as error:
        raise InputError(f'{told}: {error}; set drop_last=True or another batch_size') from error
    if not tried:
        MMLogger.get_current_instance().warning(f'{told}; whether the model takes it could not be tried')
