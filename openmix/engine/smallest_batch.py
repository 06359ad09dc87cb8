"""Try the last batch of an epoch, which may be smaller than all others, before the first step."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.utils.data import BatchSampler, DataLoader

from openmix.engine.preflight import try_batch
from openmix.errors import InputError


def left_over(loader: DataLoader) -> int:
    """Return the number of samples in the last batch of an epoch if it is smaller than the others; else 0.

    For a batch sampler other than torch's the result is 0, because it may make batches of any size.
    """
    batches = loader.batch_sampler
    if not isinstance(batches, BatchSampler) or batches.drop_last:
        return 0
    return len(batches.sampler) % batches.batch_size  # type: ignore[arg-type]


def try_smallest_batch(cfg: Config, loader: DataLoader, processes: int) -> None:
    """Take a step on the meta device with the last batch of an epoch, if it is smaller than the others.

    Args:
        cfg: prepared recipe.
        loader: the loader of the training data in this process.
        processes: number of processes.

    Raises:
        InputError: a part of the model fails on such a small batch, such as batch norm on one image of 1 x 1.
    """
    if not (left := left_over(loader)):
        return
    each = ' in each process' if processes > 1 else ''
    images = '1 image' if left == 1 else f'{left} images'
    told = f'train_dataloader: the last batch of an epoch has {images}{each}, not {loader.batch_size}'
    try:
        # Synchronised batch norm sees the samples of all processes.
        notes = try_batch(cfg, left * (processes if cfg.get('sync_bn') else 1))
    except InputError as error:
        raise InputError(f'{told}: {error}; set drop_last=True or another batch_size') from error
    except Exception:
        # The traceback of the user's code does not show that only the last batch fails.
        MMLogger.get_current_instance().error(f'{told}, and ends in this error')
        raise
    for note in notes:
        MMLogger.get_current_instance().warning(f'{told}; {note}')
