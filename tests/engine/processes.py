"""Run commands as real processes: start them, signal them, check how they end and which processes they leave."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

# For `torch.multiprocessing.start_processes`: a forked process need not import torch again, which takes seconds; but
# after a fork autograd refuses a backward pass if it has started threads for accelerators.
START_METHOD = 'fork' if sys.platform == 'linux' and not torch.accelerator.is_available() else 'spawn'

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / 'tools'
ENVIRONMENT = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
SECONDS = 300  # for a whole command on a loaded machine; it matters only if a test fails
ENVIRONMENT |= {'PYTHON': sys.executable, 'GLOO_SOCKET_IFNAME': 'lo'}


def members(session: int) -> list[int]:
    """List the processes of a session, without zombies."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            # The command's name, in brackets, may hold anything.
            state, _, _, of_session, *_ = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(of_session) == session and state not in 'ZX':
            found.append(int(stat.parent.name))
    return found


def naming(text: object) -> list[int]:
    """List the processes whose command line contains a text, such as a folder."""
    found = []
    for words in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            if str(text).encode() in words.read_bytes():
                found.append(int(words.parent.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until a condition is true; return false after a timeout in seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@dataclass
class Command:
    """A process that leads a session of its own.

    Attributes:
        poll: its exit code, negative for the signal that killed it; None while it runs.
    """

    pid: int
    log: Path
    poll: Callable[[], int | None]

    @property
    def said(self) -> str:
        return self.log.read_text(errors='replace')

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until the output contains a text."""
        assert until(lambda: text in self.said or self.poll() is not None, seconds), self.said[-3000:]
        assert text in self.said, self.said[-3000:]

    def to_all(self, number: int) -> None:
        """Signal the whole process group, as a terminal does."""
        os.killpg(self.pid, number)

    def ends(self, seconds: float) -> int | None:
        """Wait for the end; return the exit code, or None if the command still runs after the timeout."""
        until(lambda: self.poll() is not None, seconds)
        return self.poll()

    def left(self, seconds: float = 15) -> list[int]:
        """List the other processes of the session that still run some seconds after the command."""
        until(lambda: not set(members(self.pid)) - {self.pid}, seconds)
        return sorted(set(members(self.pid)) - {self.pid})

    def clear(self) -> None:
        """Kill all remaining processes of the session."""
        for pid in members(self.pid):
            os.kill(pid, signal.SIGKILL)
        until(lambda: self.poll() is not None, 10)


def start(words: Sequence[object], log: Path, program: str = sys.executable) -> Command:
    """Start a command in a new process."""
    with open(log, 'wb') as out:
        process = subprocess.Popen(
            [program, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    return Command(process.pid, log, process.poll)


def free_port() -> str:
    """Return a port of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def all_end(commands: Sequence[Command], code: int) -> None:
    """Wait until every command has ended, each with this exit code."""
    try:
        for command in commands:
            assert command.ends(SECONDS) == code, command.said[-3000:]
    finally:
        for command in commands:
            command.clear()
