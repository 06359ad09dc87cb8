"""`SampleMemory`, a row per training image; `BatchMemory`, one per image of the last batch; what training alone has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.ops.gather import gather_rows, row_counts


@runtime_checkable
class HasEqualBuffers(Protocol):
    """A module with the attribute `equal_buffers`, see `equal_buffers`."""

    equal_buffers: ClassVar[frozenset[str]]


def equal_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return, by their names in a model, the buffers that are equal in all processes by construction.

    A module declares the names of such buffers of its own in `equal_buffers`, as a memory or a queue does that is
    written from `gather_rows` alone. They are not broadcast at every step, and a moving average takes them as they are.

    Raises:
        InputError: a module declares a buffer that it does not have.
    """
    found = {}
    for name, module in model.named_modules():
        for buffer in sorted(module.equal_buffers) if isinstance(module, HasEqualBuffers) else ():
            if buffer not in module._buffers:
                raise InputError(f"{type(module).__name__}: equal_buffers names '{buffer}', which is no buffer of it")
            if (value := module._buffers[buffer]) is not None:
                found[f'{name}.{buffer}'.lstrip('.')] = value
    return found


@runtime_checkable
class HasTrainingParts(Protocol):
    """A module with the attribute `of_training`: names of own modules and buffers that training alone needs."""

    of_training: ClassVar[frozenset[str]]


def training_keys(model: nn.Module) -> set[str]:
    """Return the state dict keys of what training alone needs, such as memories, queues and momentum encoders.

    They are not published, and an evaluation does without them. A module declares its own in `of_training`.

    Raises:
        InputError: a module declares a name that none of its modules and buffers has.
    """
    found = memory_keys(model)
    for name, module in model.named_modules():
        for part in sorted(module.of_training) if isinstance(module, HasTrainingParts) else ():
            if part not in module._modules and part not in module._buffers:
                raise InputError(f"{type(module).__name__}: of_training names '{part}', which is no part of it")
            start = f'{name}.{part}'.lstrip('.')
            found |= {key for key in model.state_dict() if key == start or key.startswith(f'{start}.')}
    return found


class SampleMemory(nn.Module):
    """A memory with one row per training image, such as a running prediction or a count; equal in all processes.

    The runner allocates the rows, because their number depends on the data. They are saved in checkpoints. A resumed
    run loads them; an evaluation or a warm start does not.

    Args:
        shape: shape of a row.
        fill: initial value of the rows.
        dtype: dtype of the rows.
        pool: the pool whose images have rows, if a batch has several pools.

    Attributes:
        rows: (number of images, *shape); None until they are allocated.
    """

    equal_buffers = frozenset({'rows'})
    rows: Tensor | None

    def __init__(
        self, *shape: int, fill: float = 0.0, dtype: torch.dtype = torch.float32, pool: str | None = None
    ) -> None:
        super().__init__()
        self.shape, self.fill, self.dtype, self.pool = shape, fill, dtype, pool
        self.register_buffer('rows', None)

    def allocate(self, images: int) -> None:
        """Make the rows for this number of images; called before checkpoints are loaded and DDP wraps the model."""
        self.rows = torch.full((images, *self.shape), self.fill, dtype=self.dtype)

    def read(self, ids: Tensor) -> Tensor:
        """Return the rows (N, *shape) of images `ids` (N,) int64."""
        return self.rows_for(ids)[ids]

    @torch.no_grad()
    def write(self, ids: Tensor, values: Tensor, where: Tensor | None = None) -> None:
        """Set the rows of images; every process calls it, and sets the rows of all processes.

        If an image occurs twice, the later value counts.

        Args:
            ids: (N,) int64; N may differ between processes.
            values: (N, *shape).
            where: (N,) bool, true for the occurrences that count; None: all.
        """
        rows = self.rows_for(ids)
        counts = row_counts(ids)
        ids, values = gather_rows(ids, counts), gather_rows(values.to(rows.dtype), counts)
        if where is not None:
            # Selecting rows would be a GPU sync; those that do not count write the old value, before all others.
            where = gather_rows(where, counts)
            values = torch.where(where.view(-1, *[1] * len(self.shape)), values, rows[ids])
            order = where.to(torch.uint8).argsort(stable=True)
            ids, values = ids[order], values[order]
        # A GPU writes to equal indices in any order, so every occurrence of an image gets its last value.
        ids, order = ids.sort(stable=True)
        last = torch.searchsorted(ids, ids, right=True) - 1
        rows[ids] = values[order[last]]

    def rows_for(self, ids: Tensor) -> Tensor:
        """Return all rows; one empty row for `ids` on the meta device.

        Raises:
            InputError: the rows are not allocated.
        """
        if self.rows is not None:
            return self.rows
        if ids.is_meta:  # in the preflight, where values do not matter
            return torch.empty(1, *self.shape, dtype=self.dtype, device='meta')
        raise InputError('a SampleMemory has no rows before a runner allocates them for its training data')

    def extra_repr(self) -> str:
        rows = 'not allocated' if self.rows is None else f'{len(self.rows)} rows'
        return f'{rows} of {self.shape}' + (f" of pool '{self.pool}'" if self.pool is not None else '')


class BatchMemory(nn.Module):
    """What a training remembers of the last batch, a row for each image of all processes; equal in all processes.

    Its tensors are empty before the first batch, and have as many rows as the last batch after it. They are saved in
    checkpoints. A resumed run loads them, whatever their size; an evaluation or a warm start does not.

    Args:
        names: what is remembered, each a tensor of rows.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.equal_buffers = frozenset(names)
        self.names = names
        for name in names:
            self.register_buffer(name, torch.empty(0))

    def write(self, **values: Tensor) -> None:
        """Remember rows (N, ...) under each of the names; every process calls it, N may differ between processes."""
        counts = row_counts(values[self.names[0]])
        for name in self.names:
            self._buffers[name] = gather_rows(values[name], counts)

    def read(self, n: int) -> dict[str, Tensor] | None:
        """Return n rows of each name from row rank * n on; None before the first batch.

        They are those that this process has written if all processes have written and read n rows. Where the last batch
        was smaller, rows are taken again from the beginning, and where it was larger, some are left out.
        """
        found = {name: buffer for name, buffer in self._buffers.items() if buffer is not None and len(buffer)}
        if not found:
            return None
        first = found[self.names[0]]
        rank = 0 if first.is_meta else get_rank()
        rows = (rank * n + torch.arange(n, device=first.device)) % len(first)
        return {name: buffer[rows] for name, buffer in found.items()}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.names:
            own, saved = self._buffers[name], state_dict.get(f'{prefix}{name}')
            if own is not None and isinstance(saved, Tensor):
                self._buffers[name] = torch.empty_like(saved, device=own.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return ', '.join(self.names)


def batch_memories_in(model: nn.Module) -> dict[str, BatchMemory]:
    """Return every `BatchMemory` of a model by its name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, BatchMemory)}


def batch_memory_keys(model: nn.Module) -> set[str]:
    """Return the state dict keys of every `BatchMemory` of a model, whose sizes are those of the last batch."""
    return {f'{name}.{key}'.lstrip('.') for name, one in batch_memories_in(model).items() for key in one.names}


def memories_in(model: nn.Module) -> Iterator[SampleMemory]:
    """Yield every `SampleMemory` of a model."""
    return (module for module in model.modules() if isinstance(module, SampleMemory))


def memory_keys(model: nn.Module) -> set[str]:
    """Return the state dict keys of the memories of a model, allocated or not."""
    named = model.named_modules()
    rows = {f'{name}.rows'.lstrip('.') for name, module in named if isinstance(module, SampleMemory)}
    return rows | batch_memory_keys(model)


@runtime_checkable
class _OfPools(Protocol):
    """A data set of several pools; `parts` has them by name."""

    parts: Mapping[str, Sized]


def images_in(dataset: Sized, pool: str | None) -> int:
    """Count the images of a data set, or of one of its pools.

    Raises:
        InputError: it has no such pool, or has pools and none is named.
    """
    pools = dataset.parts if isinstance(dataset, _OfPools) else {}
    if (pool is None) != (not pools) or (pool is not None and pool not in pools):
        wanted = 'of data of one pool' if pool is None else f"of a pool '{pool}'"
        found = f'has the pools {", ".join(pools)}' if pools else 'has one'
        raise InputError(f'train_dataloader.dataset: the model remembers images {wanted}; the data set {found}')
    return len(dataset if pool is None else pools[pool])
