"""Record the signals that ask a process to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def listening(signals: list[int]) -> Iterator[None]:
    """Append the numbers of SIGTERM, SIGINT and SIGHUP to `signals` instead of ending the process."""

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    if threading.current_thread() is not threading.main_thread():  # handlers can only be set in the main thread
        yield
        return
    numbers = [signal.SIGTERM, signal.SIGINT]
    # A SIGHUP that is ignored, as under `nohup`, stays ignored.
    numbers += [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    usual = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
