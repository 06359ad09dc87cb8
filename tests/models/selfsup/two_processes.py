"""Train an algorithm in two processes, each with half of every batch, to compare with one process that has all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope
from processes import START_METHOD
from torch import Tensor

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.memory import equal_buffers

# Trains on rows of every batch, in a number of processes.
Steps = Callable[[slice, int], Any]


def take_steps(model: Algorithm, batch_of: Callable[[int], Batch], processes: int, steps: int = 5) -> list[Tensor]:
    """Train some steps; return losses, gradients and the buffers that are equal in all processes, of each step.

    Args:
        model: in evaluation mode, so that batch norm is that of its running statistics.
        batch_of: makes the part of the batch of a step that this process has.
        processes: number of processes.
        steps: number of steps.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    found = [value.clone() for value in equal_buffers(model).values()]
    for step in range(steps):
        model.before_step(step, steps)
        losses = model.loss(batch_of(step))
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        values = [value.detach() for value in losses.values()] + [p.grad for p in trained]
        for value in values if processes > 1 else ():
            dist.all_reduce(value)  # the mean over processes, as DDP takes it of gradients
            value /= processes
        optimizer.step()
        model.after_step()
        found += [value.clone() for value in [*values, *equal_buffers(model).values()]]
    return found


def in_two_processes(steps_of: Steps, images: int, folder: Path) -> tuple[Any, Any]:
    """Call a function of a test file in two processes; return what it returns in each.

    Args:
        steps_of: the function; it is given the rows of a batch that its process has, and 2.
        images: of a batch; the first half is that of the first process.
        folder: an empty one.
    """
    mp.start_processes(
        _one_rank, (steps_of, images // 2, str(folder)), nprocs=2, daemon=True, start_method=START_METHOD
    )
    first, second = (torch.load(folder / f'rank{rank}.pt') for rank in range(2))
    return first, second


def _one_rank(rank: int, steps_of: Steps, half: int, folder: str) -> None:
    torch.set_num_threads(1)
    init_default_scope('openmix')
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    torch.save(steps_of(slice(half * rank, half * (rank + 1)), 2), f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()
