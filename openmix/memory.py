"""`SampleMemory`: what a method remembers of every training image, in as many rows as the data have images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.ops.gather import gather_rows


class SampleMemory(nn.Module):
    """One row for every training image, such as a running prediction or a count, which all processes share.

    The data decide how many rows there are, so a runner allocates them, see `allocate`. They are part of a run's
    checkpoints. A resumed run goes on with them; whatever else loads such a checkpoint leaves them.

    Args:
        shape: of a row.
        fill: the value of rows that were not written yet.
        dtype: of the rows.
        pool: whose images the rows are of, where a batch has several pools.

    Attributes:
        rows: (number of images, *shape); None until they are allocated.
    """

    rows: Tensor | None

    def __init__(
        self, *shape: int, fill: float = 0.0, dtype: torch.dtype = torch.float32, pool: str | None = None
    ) -> None:
        super().__init__()
        self.shape, self.fill, self.dtype, self.pool = shape, fill, dtype, pool
        self.register_buffer('rows', None)

    def allocate(self, images: int) -> None:
        """Make so many rows. Called before checkpoints are loaded and before processes share the model."""
        self.rows = torch.full((images, *self.shape), self.fill, dtype=self.dtype)

    def read(self, ids: Tensor) -> Tensor:
        """(N, *shape) the rows of these images, (N,) int64."""
        return self._rows_for(ids)[ids]

    @torch.no_grad()
    def write(self, ids: Tensor, values: Tensor) -> None:
        """Set the rows of these images, and in every process those that the others give; each of them calls it.

        Of an image that comes twice the later value stays.

        Args:
            ids: (N,) int64, as many in every process.
            values: (N, *shape).
        """
        rows = self._rows_for(ids)
        ids, values = gather_rows(ids), gather_rows(values.to(rows.dtype))
        # A device may write equal places in any order: all of them get the last one's value.
        ids, order = ids.sort(stable=True)
        last = torch.searchsorted(ids, ids, right=True) - 1
        rows[ids] = values[order[last]]

    def _rows_for(self, ids: Tensor) -> Tensor:
        if self.rows is not None:
            return self.rows
        if ids.is_meta:  # a recipe is tried: nothing is looked up, so that one row stands for all
            return torch.empty(1, *self.shape, dtype=self.dtype, device='meta')
        raise InputError('a SampleMemory has no rows before a runner allocates them for its training data')

    def extra_repr(self) -> str:
        rows = 'not allocated' if self.rows is None else f'{len(self.rows)} rows'
        return f'{rows} of {self.shape}' + (f" of pool '{self.pool}'" if self.pool is not None else '')


def memories_in(model: nn.Module) -> Iterator[SampleMemory]:
    """Every `SampleMemory` of a model."""
    return (module for module in model.modules() if isinstance(module, SampleMemory))


def memory_keys(model: nn.Module) -> set[str]:
    """The keys of a model's state dict, or of that of a run that trains it, under which its memories lie."""
    named = model.named_modules()
    return {f'{name}.rows'.lstrip('.') for name, module in named if isinstance(module, SampleMemory)}


@runtime_checkable
class _OfPools(Protocol):
    """A data set of several pools, by their names."""

    parts: Mapping[str, Sized]


def images_in(dataset: Sized, pool: str | None) -> int:
    """How many images a data set has, or one of its pools.

    Raises:
        InputError: it has no such pool, or several and none is named.
    """
    pools = dataset.parts if isinstance(dataset, _OfPools) else {}
    if (pool is None) != (not pools) or (pool is not None and pool not in pools):
        wanted = 'of data of one pool' if pool is None else f"of a pool '{pool}'"
        found = f'has the pools {", ".join(pools)}' if pools else 'has one'
        raise InputError(f'train_dataloader.dataset: the model remembers images {wanted}; the data set {found}')
    return len(dataset if pool is None else pools[pool])
