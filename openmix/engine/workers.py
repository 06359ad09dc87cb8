"""Worker processes of data loaders: their number, the signals that they ignore, and how they end."""

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

# A terminal or launcher sends these to every process, while the main process still needs batches before it can save.
_NOT_FOR_WORKERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Between two batches a worker ends within milliseconds; within a batch it is killed after this time.
_PATIENCE_S = 0.2
_REAPED_S = 5.0  # a killed process ends at once, unless the kernel waits for a disk


class _Worker(BaseProcess):
    """A process that ignores SIGTERM, SIGINT and SIGHUP, and that ends when it is joined or its parent has ended.

    Python's multiprocessing sends SIGTERM to its processes and then joins them without a time limit. A loader's
    worker is joined only to end it, so `join` kills a worker that does not end by itself.
    """

    def start(self) -> None:
        # Blocked before the start, the signals are blocked in the process from its first instruction, in all threads.
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)

    def run(self) -> None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        sys.excepthook = _tell_but_of_hanging_up
        # By default such an error is only printed, and the main process waits for the batch forever.
        Queue._on_queue_feeder_error = staticmethod(_end_without_handing_over)  # type: ignore[attr-defined]
        super().run()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the process up to `timeout` seconds, without a timeout not at all; then kill it."""
        if not _in_main_thread():  # torch calls `terminate` after it
            super().join(timeout)
            return
        # Without a timeout it is Python that joins at its exit, when nothing is left that could ask workers to end.
        super().join(0.0 if timeout is None else min(timeout, _PATIENCE_S))
        if self.is_alive():
            self.kill()
            super().join(timeout)

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill the process."""
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
    """Wait until the main process has ended, in whatever way, and then end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _end_without_handing_over(error: Exception, batch: Any) -> None:
    """End a worker that cannot send a batch, as when shared memory runs out; the main process notices."""
    print(f"error: a loader's worker cannot hand over a batch: {message_of(error)}", file=sys.stderr, flush=True)
    os._exit(1)


def _tell_but_of_hanging_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught error, except a connection error, which an interrupted main process causes."""
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Block torch's SIGCHLD handler, which would raise in the main thread that a worker was killed."""
    if not _in_main_thread():
        yield
        return
    usual = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if usual is None else usual)


def more_than_cores(cfg: Mapping[str, Any], parts: Iterable[str]) -> str | None:
    """Return a warning that names the loaders with more workers than this process has cores; None without any.

    Args:
        cfg: recipe.
        parts: those of 'train', 'val' and 'test' whose loaders are used.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    asked = {f'{part}_dataloader': (cfg.get(f'{part}_dataloader') or {}).get('num_workers', 0) for part in parts}
    above = [f'{loader}.num_workers is {workers}' for loader, workers in asked.items() if workers > cores]
    if not above:
        return None
    named = '1 core' if cores == 1 else f'{cores} cores'
    return f'{", ".join(above)}, and this process has {named}: lower num_workers'


def end_with_command(loader: DataLoader) -> None:
    """Make the workers of a loader end with the command, in whatever way it ends."""
    if loader.num_workers == 0:
        return
    method = (loader.multiprocessing_context or multiprocessing).get_start_method()
    context: Any = type(multiprocessing.get_context(method))()
    context.Process = _PROCESSES[method]
    loader.multiprocessing_context = context
