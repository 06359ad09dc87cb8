"""The last batch of an epoch, which may be smaller than all others, tried before the first step."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.utils.data import BatchSampler, DataLoader

from openmix.engine.preflight import try_batch
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
    """Take a step on the meta device with the last batch of an epoch, if it is smaller than the others.

    Args:
        cfg: prepared recipe.
        loader: of the training data, as this process reads them.
        processes: how many read as many.

    Raises:
        InputError: a part of the model refuses so small a batch, as batch norm does one image of 1 x 1.
    """
    if not (left := left_over(loader)):
        return
    each = ' in each process' if processes > 1 else ''
    images = '1 image' if left == 1 else f'{left} images'
    told = f'train_dataloader: the last batch of an epoch has {images}{each}, not {loader.batch_size}'
    try:
        # Batch norm over all processes sees those of each.
        notes = try_batch(cfg, left * (processes if cfg.get('sync_bn') else 1))
    except InputError as error:
        raise InputError(f'{told}: {error}; set drop_last=True or another batch_size') from error
    except Exception:
        # Of the user's own code, whose traceback does not tell that the other batches went well.
        MMLogger.get_current_instance().error(f'{told}, and ends in this error')
        raise
    for note in notes:
        MMLogger.get_current_instance().warning(f'{told}; {note}')
