"""Leave training in good order when the system or the user asks for it."""

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
# Ranks compare notes this often: every iteration would cost a round trip each.
_ITERATIONS_BETWEEN_VOTES = 10


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGHUP instead of dying from them.

    A second SIGINT interrupts at once. Ranks are signalled at different moments, some twice (by the
    terminal and by torchrun), and must leave at the same iteration: they vote and ignore repetitions.

    A SIGHUP that whoever started the command wants ignored, as `nohup` does, stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._usual: dict[int, Any] = {}
        self._group: Any = None
        self._agreed: int | None = None

    def listen(self) -> None:
        """Take over the signals; every rank calls it at the same point."""
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        self._usual = {number: signal.signal(number, self._note) for number in _SIGNALS if number not in ignored}
        if get_world_size() > 1:
            # The vote is cast on the CPU: on the device it would stall the queue of kernels.
            self._group = torch.distributed.new_group(backend='gloo')

    def forget(self) -> None:
        """Give the signals back."""
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT and self._group is None:
            raise KeyboardInterrupt
        self.signal = number

    def alone(self) -> int | None:
        """The signal to stop for where there are no other ranks to agree with; None to go on."""
        return self.signal if self._group is None else None

    def agreed(self, iterations: int) -> int | None:
        """The signal to stop for after this many iterations, alike on all ranks; None to go on."""
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
    """Undo what a block does to the answers to these signals, however it ends: after an error they work again."""
    usual = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, answer in usual.items():
            if signal.getsignal(number) is not answer:
                signal.signal(number, answer)


def command_to_resume() -> str:
    """The command line that resumes this run, as near as this process knows how it was started."""
    if get_world_size() > 1:
        return 'repeat the command with --resume'
    typed = [sys.executable, *sys.argv]
    return shlex.join(typed if '--resume' in typed else [*typed, '--resume'])
