"""Precise batch norm: estimate the statistics of batch norm anew before they are used in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import EMAHook, Hook
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from openmix.algorithm import Algorithm, algorithm_of
from openmix.engine.loops import read_pass
from openmix.engine.seeding import step_seed
from openmix.errors import InputError, check_number
from openmix.ops.kept_buffers import KeptBuffers
from openmix.registry import HOOKS

Statistics = Mapping[_BatchNorm, tuple[Tensor, Tensor]]


@torch.no_grad()
def precise_statistics(algorithm: Algorithm, batches: Iterable[Any]) -> Statistics:
    """Average the statistics of batches over batches and processes, with the weights as they are.

    A batch runs through `loss` in training mode and in float32. Of the algorithm nothing changes.

    Args:
        algorithm: the algorithm.
        batches: batches of a training loader; equally many in all processes.

    Returns:
        mean (C,) and variance (C,) of the batch norms that ran. As of the running ones, the variance is the unbiased
        one inside a batch, but for `EqualSyncBatchNorm`.
    """
    mode = algorithm.training
    algorithm.train()
    norms = [one for one in algorithm.modules() if isinstance(one, _BatchNorm) and one.training and _has_running(one)]
    momenta = [norm.momentum for norm in norms]
    try:
        with KeptBuffers(algorithm):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the running values are then the means over all batches
            for batch in batches:
                algorithm.loss(algorithm.data_preprocessor(batch, training=True))
            found = {norm: _running(norm) for norm in norms if norm.num_batches_tracked}
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        algorithm.train(mode)
    if get_world_size() > 1:
        for value in (value for pair in found.values() for value in pair):
            all_reduce(value, op='mean')
    return found


def _has_running(norm: _BatchNorm) -> bool:
    return norm.track_running_stats and norm.running_mean is not None


def _running(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators, and restore their states at the end."""
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(seed)
        yield


@HOOKS.register_module()
class PreciseBNHook(Hook):
    """Replace the running statistics of batch norm by precise ones before each validation (Wu and Johnson, 2021).

    Running statistics mix those of earlier weights. Precise ones are means over `iterations` training batches with the
    weights as they are. They are computed after the last iteration before a validation, so the checkpoint of that
    iteration holds what was validated.

    The batches are read by a loader of its own, so those that are trained on do not change. They and all draws are a
    function of seed, iteration and rank: a resumed run computes the same.

    Args:
        iterations: number of batches, of each process.

    Raises:
        InputError: the number is below 1, or the run keeps a moving average of the weights, which another hook
            validates.
    """

    # After the step and before RankZeroBuffersHook and CheckpointHook.
    priority = 'BELOW_NORMAL'
    small = {'iterations': 2}

    def __init__(self, iterations: int = 200) -> None:
        check_number('PreciseBNHook: iterations', iterations, 1)
        self.iterations = iterations
        self._loader: DataLoader | None = None
        self._known_for: int | None = None

    def before_run(self, runner: Any) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise InputError(
                'PreciseBNHook estimates the statistics of the raw weights, and EMAHook validates their moving '
                'average; leave one of them out'
            )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if runner.train_loop.validates_after(runner.iter + 1):
            self._replace(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Any) -> None:
        # Not yet known if the run was resumed, or if another hook ends it.
        if runner.train_loop is not None and runner.iter != self._known_for:
            self._replace(runner, runner.iter)

    def _replace(self, runner: Any, iterations: int) -> None:
        """Replace the statistics after a number of iterations."""
        self._known_for = iterations
        if self._loader is None:
            self._loader = _loader_like_that_of(runner)
        runner.logger.info(f'Batch norm: {self.iterations} batches of training images pass for its statistics')
        algorithm = algorithm_of(runner.model)
        with _seeded(step_seed(runner.seed, iterations, get_rank())):
            batches = islice(_endless(self._loader, iterations, runner.seed), self.iterations)
            for norm, values in precise_statistics(algorithm, batches).items():
                for running, value in zip(_running(norm), values):
                    running.copy_(value)
        runner.logger.info(f'Batch norm evaluates with the statistics of {self.iterations} batches')


def _loader_like_that_of(runner: Any) -> DataLoader:
    """Build a second loader of the training data, which shares no state with the first."""
    recipe = {**runner.cfg.train_dataloader, 'dataset': copy.deepcopy(runner.train_dataloader.dataset)}
    recipe['persistent_workers'] = False
    return runner.build_dataloader(recipe, seed=runner.seed)


def _endless(loader: DataLoader, first: int, seed: int) -> Iterator[Any]:
    """Yield the batches of one pass after another; `first` numbers the first pass, which determines its draws."""
    for number in count(first):
        yield from read_pass(loader, number, 0, seed)
