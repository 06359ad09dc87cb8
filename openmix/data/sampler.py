"""The order in which a loader reads its samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any

import torch
from mmengine.dataset import DefaultSampler as MMDefaultSampler

from openmix.errors import check_number
from openmix.registry import DATA_SAMPLERS

# The published runs leave out what exceeds a multiple of this.
_ROUND = 256


@DATA_SAMPLERS.register_module()
class DefaultSampler(MMDefaultSampler):
    """mmengine's sampler, its order a function of (seed, epoch), able to start inside an epoch.

    Args:
        kwargs: of mmengine's `DefaultSampler`: dataset, shuffle, seed, round_up.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._skipped = 0

    def seek(self, samples: int) -> None:
        """Leave out this rank's first `samples` of the next epoch that is read, and of that one only."""
        self._skipped = samples

    def order(self) -> list[int]:
        """This rank's indices of the whole epoch."""
        return list(super().__iter__())

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        skipped, self._skipped = self._skipped, 0
        return iter(order[skipped:])


@DATA_SAMPLERS.register_module()
class RepeatedAugSampler(DefaultSampler):
    """Repeated augmentation: an image comes several times in a row, augmented anew (Hoffer et al., CVPR 2020).

    The copies go to different processes where there are several. An epoch keeps its length: it shows
    a third of the images where each comes three times, rounded down to 256 samples, as timm and
    DeiT do. The k-th copy of sample i has index i + k * len(dataset), which gives it its own draws.

    Args:
        dataset: what is read.
        shuffle: draw the order anew each epoch.
        seed: of the order; None: drawn once and shared between processes.
        repeats: copies of an image, at least 1.

    Raises:
        InputError: repeats is not a positive integer.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, repeats: int = 3) -> None:
        check_number('RepeatedAugSampler: repeats', repeats, 1)
        super().__init__(dataset, shuffle=shuffle, seed=seed)
        self.repeats = repeats
        total = len(dataset)
        whole = total // _ROUND * _ROUND
        self.num_samples = whole // self.world_size if whole else math.ceil(total / self.world_size)

    def order(self) -> list[int]:
        n = len(self.dataset)
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        images = torch.randperm(n, generator=generator) if self.shuffle else torch.arange(n)
        place = (self.rank + self.world_size * torch.arange(self.num_samples)) % (n * self.repeats)
        return (images[place // self.repeats] + n * (place % self.repeats)).tolist()
