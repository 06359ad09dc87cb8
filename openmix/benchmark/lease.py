"""Who trains in a folder: a file beside it that one process alone creates, keeps fresh, and that expires.

It needs of a shared disk only that creating and renaming a file are atomic, which NFS grants and locks do not.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

HEARTBEAT_S = 30
EXPIRES_S = 300


@dataclass(frozen=True)
class Holder:
    """What a lease says of the process that took it.

    Attributes:
        host: for people.
        machine: tells machines, and containers with process numbers of their own, apart.
        token: of this one lease.
    """

    host: str
    machine: str
    pid: int
    since: str
    token: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f'process {self.pid} on {self.host}'

    @property
    def is_gone(self) -> bool:
        """Whether it can be seen from here that the process has ended."""
        if self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


@functools.cache
def _machine() -> str:
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):  # only Linux has them
        found.append(Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip())
        found.append(os.readlink('/proc/self/ns/pid'))
    return '/'.join(found)


def file_of(folder: Path) -> Path:
    """The lease of a folder; beside it, so that setting the folder aside does not move it."""
    return folder.with_name(f'{folder.name}.lease')


def holder_of(folder: Path) -> Holder | None:
    """The process that trains in a folder; None where there is none, or its lease has expired."""
    found = _read(file_of(folder), time.time())
    return None if found is None or found[1] else found[0]


def _read(path: Path, now: float) -> tuple[Holder, bool] | None:
    """What a lease says, and whether it has expired; None where there is none."""
    try:
        with path.open(encoding='utf-8') as file:  # one file, whatever is renamed over it meanwhile
            age = now - os.fstat(file.fileno()).st_mtime
            text = file.read()
    except OSError:
        return None
    try:
        holder = Holder(**json.loads(text))
    except (ValueError, TypeError):  # it is being written, or its writer had no room
        holder = Holder('an unknown machine', '', 0, '', 'unreadable')
    return holder, holder.is_gone or age > EXPIRES_S


def _servers_time(folder: Path) -> float:
    """The time by which the disk dates files: on a shared one not this machine's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _create(path: Path, holder: Holder) -> bool:
    """Write a file that was not there; whether it was this process that did."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(file, 'w', encoding='utf-8') as text:
            json.dump(asdict(holder), text)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


class Lease:
    """The right to train in a folder."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        self._fresh = time.monotonic()

    @classmethod
    def take(cls, folder: Path) -> Lease | None:
        """The lease of a folder; None where another process holds it.

        An expired lease is replaced by the one process that creates the file named after its token.
        """
        path = file_of(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        since = time.strftime('%Y-%m-%dT%H:%M:%S%z')
        mine = Holder(socket.gethostname(), _machine(), os.getpid(), since, uuid.uuid4().hex)
        if _create(path, mine):
            return cls(path, mine)
        now = _servers_time(path.parent)
        found = _read(path, now)
        if found is None or not found[1]:
            return None
        expired = found[0]
        successor = path.with_name(f'{path.name}.{expired.token}')
        if not _create(successor, mine):
            # Left by a process that died at this very place.
            with contextlib.suppress(OSError):
                if now - successor.stat().st_mtime > EXPIRES_S:
                    successor.unlink()
            return None
        found = _read(path, now)
        if found is None or found[0].token != expired.token:  # another successor was done before
            successor.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):  # suspended so long that others took it for dead
            os.replace(successor, path)
        taken = cls(path, mine)
        return taken if taken.is_mine() else None

    def is_mine(self) -> bool:
        """Whether the file still says so: a process that was suspended for long may have lost it."""
        found = _read(self.path, time.time())
        return found is not None and found[0].token == self.holder.token

    def keep(self) -> bool:
        """Show, every `HEARTBEAT_S`, that the process is alive; False where the lease is lost."""
        if time.monotonic() - self._fresh < HEARTBEAT_S:
            return True
        self._fresh = time.monotonic()
        if not self.is_mine():
            return False
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path)
        return True

    def release(self) -> None:
        """Give it back."""
        if self.is_mine():
            self.path.unlink(missing_ok=True)
