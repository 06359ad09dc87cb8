"""The processes that read images for a loader: how many, what they do not hear, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess, ForkServerProcess, SpawnProcess
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any

from torch.utils.data import DataLoader

from openmix.errors import message_of

# What a terminal or a launcher sends to every process of a run, while the trainer still needs batches to save itself.
_NOT_FOR_WORKERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A worker that is asked to end between two batches needs milliseconds; within a batch nobody waits for it any more.
_PATIENCE_S = 0.2
_REAPED_S = 5.0  # what is killed is gone at once, unless the kernel waits for a disk


class _Worker(BaseProcess):
    """A process that SIGTERM, SIGINT and SIGHUP do not reach, and that ends when it is joined or its parent is gone.

    Python's multiprocessing ends its processes by SIGTERM and then joins them without a limit of time.
    Nobody joins a loader's worker but to be rid of it, so joining kills what does not leave by itself.
    """

    def start(self) -> None:
        # Blocked before the process exists, they are blocked in its first instruction and in all of its threads.
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)

    def run(self) -> None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        sys.excepthook = _tell_but_of_hanging_up
        # By default it is printed, and the trainer waits for the batch for ever.
        Queue._on_queue_feeder_error = staticmethod(_end_without_handing_over)  # type: ignore[attr-defined]
        super().run()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end for up to `timeout` seconds, or none at all; then make it."""
        if not _in_main_thread():  # torch calls `terminate` after it
            super().join(timeout)
            return
        # Without a limit it is Python that joins, at its exit, when there is nobody left to ask workers to leave.
        super().join(0.0 if timeout is None else min(timeout, _PATIENCE_S))
        if self.is_alive():
            self.kill()
            super().join(timeout)

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        with _unnoticed():
            super().kill()
            super().join(_REAPED_S)


class _Forked(_Worker, ForkProcess):
    pass


class _Spawned(_Worker, SpawnProcess):
    pass


class _ForkServed(_Worker, ForkServerProcess):
    pass


_PROCESSES: dict[str, type[_Worker]] = {'fork': _Forked, 'spawn': _Spawned, 'forkserver': _ForkServed}


def _end_with_parent() -> None:
    """Wait until the trainer is gone, however it went, and follow it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _end_without_handing_over(error: Exception, batch: Any) -> None:
    """End the worker that cannot send a batch, as where files or memory to share run out; the trainer notices."""
    print(f"error: a loader's worker cannot hand over a batch: {message_of(error)}", file=sys.stderr, flush=True)
    os._exit(1)


def _tell_but_of_hanging_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught error, unless a trainer that was interrupted hung up on the thread that hands over a batch."""
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Keep the end of a child from torch, which raises in the main thread that a worker was killed."""
    if not _in_main_thread():
        yield
        return
    usual = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if usual is None else usual)


def more_than_cores(cfg: Mapping[str, Any], parts: Iterable[str]) -> str | None:
    """Say in a line which loaders have more workers than this process has cores; None where none has.

    Args:
        cfg: recipe.
        parts: of 'train', 'val' and 'test', those whose loaders are read.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    asked = {f'{part}_dataloader': (cfg.get(f'{part}_dataloader') or {}).get('num_workers', 0) for part in parts}
    above = [f'{loader}.num_workers is {workers}' for loader, workers in asked.items() if workers > cores]
    if not above:
        return None
    named = '1 core' if cores == 1 else f'{cores} cores'
    return f'{", ".join(above)}, and this process has {named}: lower num_workers'


def end_with_command(loader: DataLoader) -> None:
    """Give a loader workers that end with the command, in whatever way it ends."""
    if loader.num_workers == 0:
        return
    method = (loader.multiprocessing_context or multiprocessing).get_start_method()
    context: Any = type(multiprocessing.get_context(method))()
    context.Process = _PROCESSES[method]
    loader.multiprocessing_context = context
