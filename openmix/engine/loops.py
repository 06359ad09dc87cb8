"""mmengine's training loops, able to resume at any iteration."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import EpochBasedTrainLoop as MMEpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as MMIterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader, Dataset

from openmix.errors import InputError, brief
from openmix.registry import LOOPS


def check_loader(loader: DataLoader) -> None:
    """Check that a training loader has what the loops need.

    Raises:
        InputError: it gives no batch, its sampler has no `seek`, or its data set has no `set_epoch`.
    """
    if len(loader) == 0:
        raise InputError(
            f'train_dataloader: {len(loader.dataset)} images give no batch of {loader.batch_size}; '  # type: ignore[arg-type]
            'make batch_size smaller or leave out drop_last'
        )
    sampler = sampler_of(loader)
    if not hasattr(sampler, 'seek'):
        raise InputError(
            f'train_dataloader.sampler: {type(sampler).__name__} has no seek(samples), which a resumed run needs; '
            "take 'DefaultSampler', which every training loop restarts without end"
        )
    if not hasattr(loader.dataset, 'set_epoch'):
        raise InputError(
            f'train_dataloader.dataset: {type(loader.dataset).__name__} has no set_epoch(epoch, seed), '
            'which renews the draws of its augmentation; give it one'
        )


def sampler_of(loader: DataLoader) -> Any:
    """Return the sampler that determines a loader's order, inside the batch sampler if there is one."""
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def read_pass(loader: DataLoader, number: int, done: int, seed: int) -> Iterator[Any]:
    """Yield the batches of one pass over the data from a position on, without reading those before it.

    Args:
        loader: the training loader.
        number: number of the pass; with `seed` it determines the order and the augmentation of each image.
        done: number of batches of this pass that have been trained.
        seed: seed of the run.
    """
    if done >= len(loader):
        return
    sampler = sampler_of(loader)
    sampler.set_epoch(number)
    sampler.seek(done * (loader.batch_size or loader.batch_sampler.batch_size))  # type: ignore[union-attr]
    renew_draws(loader, number, seed)
    yield from loader


def renew_draws(loader: DataLoader, number: int, seed: int) -> None:
    """Call `set_epoch` of the data set for a pass, with effect in all worker processes.

    Persistent workers hold a copy of the data set. If `set_epoch` sets an attribute, of the data set or of one inside
    it, instead of writing into shared memory, the workers are started again.
    """
    dataset: Any = loader.dataset
    before = [(part, dict(vars(part))) for part in _data_sets_in(dataset)]
    dataset.set_epoch(number, seed)
    if loader.persistent_workers and any(
        attributes.get(name) is not value for part, attributes in before for name, value in vars(part).items()
    ):
        loader._iterator = None


def _data_sets_in(dataset: Any) -> Iterator[Any]:
    """Yield a data set and all that it holds as attributes, or in lists or dicts of them, at any depth; each once."""
    waiting, seen = [dataset], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        for value in vars(one).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
            waiting += [part for part in held if isinstance(part, Dataset)]


def interval_changes(dynamic_intervals: Sequence[Sequence[int]] | None) -> list[tuple[int, int]] | None:
    """Check the changes of the validation interval and return them in mmengine's form.

    Args:
        dynamic_intervals: pairs of the epoch or iteration from which an interval applies, and the interval.

    Raises:
        InputError: they are not such pairs, or not in increasing order.
    """
    if dynamic_intervals is None:
        return None
    pairs = [tuple(pair) if isinstance(pair, (list, tuple)) else (pair,) for pair in dynamic_intervals]
    begins = [pair[0] for pair in pairs]
    whole = all(len(pair) == 2 and all(type(n) is int and n > 0 for n in pair) for pair in pairs)
    if not whole or begins != sorted(set(begins)):
        raise InputError(
            'dynamic_intervals must be pairs of whole numbers, (from epoch or iteration, interval), that follow one '
            f'another, as [(10, 5), (50, 1)], got {brief(dynamic_intervals)}'
        )
    return pairs


def trim_history(scalars: dict[str, HistoryBuffer], length: int) -> None:
    """Drop all but the newest `length` values of every logged scalar, in place.

    mmengine copies a scalar's whole history in every iteration and stores it in every checkpoint.
    """
    for name, buffer in scalars.items():
        values, counts = buffer.data
        if len(values) > length:
            scalars[name] = HistoryBuffer(values[-length:], counts[-length:])


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEpochBasedTrainLoop):
    """mmengine's epoch loop, except that a run resumed inside an epoch trains only the remaining batches.

    A checkpoint is saved after an iteration. A run resumed from the last iteration of an epoch repeats the end of
    the epoch, with its validation, because the checkpoint does not record whether that was done.

    A hook that sets `stop_training` ends the run after the epoch, which is validated whatever the interval.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Sequence[Sequence[int]] | None = None,
    ) -> None:
        changes = interval_changes(dynamic_intervals)
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, changes)
        check_loader(self.dataloader)

    def _decide_current_val_interval(self) -> None:
        # mmengine's version applies a new interval one epoch too early.
        self.val_interval = self._interval_at(self._epoch)

    def _interval_at(self, epochs: int) -> int:
        return self.dynamic_intervals[bisect(self.dynamic_milestones, epochs) - 1]

    def validates_after(self, iterations: int) -> bool:
        """Tell whether a validation follows a number of iterations, unless a hook ends the run."""
        epochs, left = divmod(iterations, len(self.dataloader))
        return not left and self._validates(epochs, epochs == self._max_epochs)

    def _validates(self, epochs: int, last: bool) -> bool:
        due = epochs % self._interval_at(epochs) == 0 or last
        return due and epochs >= self.val_begin and self.runner.val_loop is not None

    def run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._validates(self._epoch, self._epoch == self._max_epochs or self.stop_training):
                self.runner.val_loop.run()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        per_epoch = len(self.dataloader)
        trim_history(self.runner.message_hub.log_scalars, per_epoch)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * per_epoch
        for i, batch in enumerate(read_pass(self.dataloader, self._epoch, done, self.runner.seed), done):
            self.run_iter(i, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class IterBasedTrainLoop(MMIterBasedTrainLoop):
    """mmengine's iteration loop, without its replay of all earlier batches on resume and its pause between passes.

    A run resumed where a validation was due repeats the validation first. A hook that sets `stop_training`
    ends the run after the iteration, which is validated whatever the interval.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: Sequence[Sequence[int]] | None = None,
    ) -> None:
        # Not the parent's constructor, which starts the loader's workers before the position is known.
        BaseLoop.__init__(self, runner, dataloader)
        check_loader(self.dataloader)
        self._max_iters, self._max_epochs = int(max_iters), -(-int(max_iters) // len(self.dataloader))
        self._epoch = self._iter = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, interval_changes(dynamic_intervals)
        )

    @property
    def epoch(self) -> int:
        """The number of complete passes over the data."""
        return self._iter // len(self.dataloader)

    def run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        # The run may have been resumed where a hook ended it.
        if self._iter and not self.stop_training:
            self.end_iteration()
        per_pass = len(self.dataloader)
        while self.unfinished():
            trim_history(self.runner.message_hub.log_scalars, max(per_pass, *self.dynamic_intervals))
            self.runner.model.train()
            for batch in read_pass(self.dataloader, *divmod(self._iter, per_pass), self.runner.seed):
                self.run_iter(batch)
                self.end_iteration()
                if not self.unfinished():
                    break
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _decide_current_val_interval(self) -> None:
        self.val_interval = self._interval_at(self._iter)

    def _interval_at(self, iterations: int) -> int:
        return self.dynamic_intervals[bisect(self.dynamic_milestones, iterations) - 1]

    def validates_after(self, iterations: int) -> bool:
        """Tell whether a validation follows a number of iterations, unless a hook ends the run."""
        due = iterations % self._interval_at(iterations) == 0 or iterations >= self._max_iters
        return due and iterations >= self.val_begin and self.runner.val_loop is not None

    def unfinished(self) -> bool:
        """Return true if there are iterations left to train."""
        return self._iter < self._max_iters and not self.stop_training

    def end_iteration(self) -> None:
        """Validate if it is due; at an interval without a validation call the hooks' `after_interval`."""
        self._decide_current_val_interval()
        if self._iter % self.val_interval and self.unfinished():
            return
        if self.runner.val_loop is not None and self._iter >= self.val_begin:
            self.runner.val_loop.run()
            self.runner.model.train()
        else:
            self.runner.call_hook('after_interval')
