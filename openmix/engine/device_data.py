"""Images held by the device that trains, so that a batch is one index operation there."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

from openmix.errors import InputError

# The rest is for the network and its activations.
_SHARE = 4


@runtime_checkable
class _Held(Protocol):
    """A data set whose images lie in memory, or in files: then `bytes_held` is None."""

    @property
    def bytes_held(self) -> int | None: ...

    def move(self, device: str) -> None: ...


def hold_on_device(loader: DataLoader, device: str) -> None:
    """Move a loader's images to the device, once; batches stay the same. On the CPU nothing is to be done.

    Args:
        loader: of a data set with `bytes_held` and `move`, see `ImageDataset`.
        device: where the model is.

    Raises:
        InputError: the images are not held in memory, workers read them, or they fill more than a quarter
            of what is free on the device.
    """
    dataset: Any = loader.dataset
    held = dataset.bytes_held if isinstance(dataset, _Held) else None
    if held is None:
        raise InputError(
            f'data_on_device: {type(dataset).__name__} reads its images from files; leave data_on_device out'
        )
    if loader.num_workers:
        raise InputError(
            f'data_on_device: {loader.num_workers} workers cannot hand over what a device holds; set num_workers=0'
        )
    kind = torch.device(device).type
    if kind == 'cpu':
        return
    if kind == 'cuda':
        free = torch.cuda.mem_get_info(device)[0]
        if held > free / _SHARE:
            raise InputError(
                f'data_on_device: {held / 2**30:.3g} GiB of images, and {free / 2**30:.3g} GiB are free '
                f'on the GPU; they may take 1 / {_SHARE} of it: leave data_on_device out'
            )
    dataset.move(device)
    # Only what the CPU holds can be pinned.
    loader.pin_memory = False
