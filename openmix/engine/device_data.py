"""Keep the training images on the GPU, so that a batch is one index operation there."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

from openmix.errors import InputError

# The images may take 1 / _SHARE of the free memory; the rest is for the network and its activations.
_SHARE = 4


@runtime_checkable
class _Held(Protocol):
    """A data set that tells how many bytes of images it holds in memory; None if they are in files."""

    @property
    def bytes_held(self) -> int | None: ...

    def move(self, device: str) -> None: ...


def hold_on_device(loader: DataLoader, device: str) -> None:
    """Move a loader's images to the device, once; its batches do not change. Does nothing for the CPU.

    Args:
        loader: a loader of a data set with `bytes_held` and `move`, see `ImageDataset`.
        device: device of the model.

    Raises:
        InputError: the images are not in memory, the loader has workers, or the images would take more than a
            quarter of the free memory of the GPU.
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
    # Only CPU memory can be pinned.
    loader.pin_memory = False
