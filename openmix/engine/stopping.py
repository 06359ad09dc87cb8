"""Stop training after a checkpoint on SIGTERM, SIGINT or SIGHUP."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from mmengine.dist import get_world_size

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Ranks vote this often, because a vote in every iteration would cost a round trip each.
_ITERATIONS_BETWEEN_VOTES = 10


class StopRequest:
    """Record SIGTERM, SIGINT and SIGHUP instead of ending the process.

    In a single process, a second SIGINT interrupts at once. Ranks are signalled at different times, some twice (by
    the terminal and by torchrun), but must stop at the same iteration: they vote, and ignore repeated signals.

    A SIGHUP that is ignored when the command starts, as under `nohup`, stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._usual: dict[int, Any] = {}
        self._group: Any = None
        self._agreed: int | None = None

    def listen(self) -> None:
        """Install the signal handlers; every rank must call it at the same point."""
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        self._usual = {number: signal.signal(number, self._note) for number in _SIGNALS if number not in ignored}
        if get_world_size() > 1:
            # Votes use gloo on the CPU, because a vote on the GPU would be a GPU sync.
            self._group = torch.distributed.new_group(backend='gloo')

    def forget(self) -> None:
        """Restore the previous signal handlers."""
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT and self._group is None:
            raise KeyboardInterrupt
        self.signal = number

    def alone(self) -> int | None:
        """Return the signal to stop for in a single process; None: continue, or there are other ranks."""
        return self.signal if self._group is None else None

    def agreed(self, iterations: int) -> int | None:
        """Return the signal to stop for after this many iterations, the same on all ranks; None: continue."""
        if self._group is None:
            return self.signal
        if self._agreed is not None or iterations % _ITERATIONS_BETWEEN_VOTES:
            return self._agreed
        vote = torch.tensor(self.signal or 0)
        torch.distributed.all_reduce(vote, torch.distributed.ReduceOp.MAX, self._group)
        self._agreed = int(vote) or None
        return self._agreed


@contextmanager
def signals_given_back() -> Iterator[None]:
    """Restore the handlers of these signals at the end of the block, also after an error."""
    usual = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, answer in usual.items():
            if signal.getsignal(number) is not answer:
                signal.signal(number, answer)


def command_to_resume() -> str:
    """Return the command line that resumes this run, as far as this process knows it."""
    if get_world_size() > 1:
        return 'repeat the command with --resume'
    typed = [sys.executable, *sys.argv]
    return shlex.join(typed if '--resume' in typed else [*typed, '--resume'])
