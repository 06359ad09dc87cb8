"""Samplers: the order in which a loader reads its samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.dataset import DefaultSampler as MMDefaultSampler

from openmix.data.splits import rank_in_class
from openmix.errors import InputError, check_number
from openmix.registry import DATA_SAMPLERS

# As in published runs, the number of samples is rounded down to a multiple of this.
_ROUND = 256


@DATA_SAMPLERS.register_module()
class DefaultSampler(MMDefaultSampler):
    """mmengine's sampler, whose order is a function of (seed, epoch), extended to start inside an epoch.

    Args:
        kwargs: arguments of mmengine's `DefaultSampler`: dataset, shuffle, seed, round_up.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._skipped = 0

    def seek(self, samples: int) -> None:
        """Skip this rank's first `samples` of the next epoch that is read, and only of that epoch."""
        self._skipped = samples

    def order(self) -> list[int]:
        """Return this rank's indices of the whole epoch."""
        return list(super().__iter__())

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        skipped, self._skipped = self._skipped, 0
        return iter(order[skipped:])


@DATA_SAMPLERS.register_module()
class RepeatedAugSampler(DefaultSampler):
    """Repeated augmentation: an image occurs several times in a row, each time with new augmentation (Hoffer et al.).

    With several processes, the copies go to different ones. The length of an epoch does not change: with
    three copies, it contains a third of the images, rounded down to a multiple of 256 samples, as in timm and
    DeiT. The k-th copy of sample i has index i + k * len(dataset), which gives it its own random augmentation.

    Args:
        dataset: the data set.
        shuffle: draw a new order in each epoch.
        seed: seed of the order; None: drawn once and shared between processes.
        repeats: number of copies of an image, at least 1.

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


@runtime_checkable
class Pooled(Protocol):
    """A data set of a labelled and an unlabelled pool, whose indices follow one another, see `Pools`."""

    @property
    def sizes(self) -> tuple[int, int]: ...

    ratio: int


@DATA_SAMPLERS.register_module()
class PoolSampler(DefaultSampler):
    """Draw groups of one labelled sample and `ratio` unlabelled samples from `Pools`.

    A pass has as many groups as are needed to contain every image of both pools, max(L, ceil(U / ratio)); whole groups
    are distributed to processes. The order is a function of (seed, epoch). The k-th repeat of image i within a pass
    has index i + k * len(dataset), which gives it its own random augmentation.

    Args:
        dataset: `Pools`.
        seed: seed of the order; None: drawn once and shared between processes.
        replacement: draw every sample from its whole pool, as in published semi-supervised runs; False: shuffle each
            pool, and shuffle it again when it is exhausted before the pass ends.

    Raises:
        InputError: the data set has no pools.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, replacement: bool = False) -> None:
        if not isinstance(dataset, Pooled):
            raise InputError(f'PoolSampler draws from Pools, not from {type(dataset).__name__}; take DefaultSampler')
        super().__init__(dataset, shuffle=True, seed=seed)
        self.replacement, self.sizes, self.ratio = replacement, dataset.sizes, dataset.ratio
        groups = max(self.sizes[0], math.ceil(self.sizes[1] / self.ratio))
        self.groups = math.ceil(groups / self.world_size)
        self.num_samples = self.groups * (1 + self.ratio)
        self.total_size = self.num_samples * self.world_size

    def order(self) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        first, total = self.sizes[0], sum(self.sizes)
        columns = []
        for offset, size, each in ((0, self.sizes[0], 1), (first, self.sizes[1], self.ratio)):
            count = self.groups * self.world_size * each
            if self.replacement:
                places = torch.randint(size, (count,), generator=generator)
            else:
                passes = [torch.randperm(size, generator=generator) for _ in range(math.ceil(count / size))]
                places = torch.cat(passes)[:count]
            columns.append((offset + places + rank_in_class(places) * total).view(-1, each))
        return torch.cat(columns, 1)[self.rank :: self.world_size].flatten().tolist()
