"""Leases: a lease is a file that gives one process the right to work in a folder, until it is released or expires.

The protocol only needs atomic creation and renaming of files on a shared disk; these work on NFS, where locks do not.
On one machine, a lease is valid exactly as long as its process exists, also while the process is suspended. Between
machines, a lease expires if its holder has not renewed it for `EXPIRES_S` seconds.

The process that runs a table holds the lease beside a trial's folder; a training holds the lease inside its folder.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

HEARTBEAT_S = 30
EXPIRES_S = 300
# Tolerance, in seconds, for a lease whose time is ahead of the file server's clock.
_AHEAD_S = 5
_LONGEST = 2**16  # largest size of a lease file in bytes


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease.

    Attributes:
        host: host name, for messages.
        machine: identifies the machine, and a container with its own process numbers.
        pid: process number.
        since: time at which the lease was taken.
        token: identifies this lease.
        started: start time of the process, as its system writes it; distinguishes it from a later process with the
            same number.
        launch: identifier of the launch, the same in all processes and restarts of a launcher; '' without one.
    """

    host: str
    machine: str
    pid: int
    since: str
    token: str
    started: str = ''
    launch: str = ''

    @classmethod
    def of_this_process(cls, launch: str = '') -> Holder:
        """Make the holder of a lease that this process takes now."""
        since, pid = time.strftime('%Y-%m-%dT%H:%M:%S%z'), os.getpid()
        return cls(socket.gethostname(), _machine(), pid, since, uuid.uuid4().hex, _started(pid) or '', launch)

    @classmethod
    def parse(cls, text: bytes) -> Holder:
        """Parse a lease; if it is damaged or not yet written completely, the holder is an unknown process."""
        unknown = cls('an unknown machine', '', 0, '', 'unreadable')
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            return unknown
        names = {field.name for field in fields(cls)}
        if not isinstance(found, dict) or not {'host', 'machine', 'pid', 'since', 'token'} <= found.keys() <= names:
            return unknown
        pid, token = found['pid'], found['token']
        words = all(isinstance(value, str) for key, value in found.items() if key != 'pid')
        if not words or type(pid) is not int or not 0 < pid < 2**31 or not re.fullmatch(r'\w{1,64}', token):
            return unknown
        return cls(**found)

    @property
    def name(self) -> str:
        """The process as messages name it."""
        return f'process {self.pid} on {self.host}' if self.pid else f'a process on {self.host}'

    @property
    def is_local(self) -> bool:
        """True if the process is on this machine, where its existence can be checked."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """True if the process is on this machine and has ended."""
        if not self.is_local:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        started = _started(self.pid)
        return started == '' or (started is not None and self.started not in ('', started))


@functools.cache
def _machine() -> str:
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):  # these files exist only on Linux
        found.append(Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip())
        found.append(os.readlink('/proc/self/ns/pid'))
    return '/'.join(found)


def _started(pid: int) -> str | None:
    """Return the start time of a process on this machine; '' if it is a zombie, None if unknown."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    state, *rest = text.rpartition(')')[2].split()
    return '' if state in 'ZX' else rest[18]


def beside(folder: Path) -> Path:
    """Return the lease file of the process that runs a trial, beside its folder, so that renaming that keeps it."""
    return folder.with_name(f'{folder.name}.lease')


def inside(folder: Path) -> Path:
    """Return the lease file of the training that writes into a folder."""
    return folder / 'training.lease'


def holder_at(path: Path) -> Holder | None:
    """Return the process that holds a lease; None if there is no lease or it has expired."""
    found = _seen(path, time.time())
    return None if found is None or found.expired else found.holder


def holder_of(folder: Path) -> Holder | None:
    """Return the process that works in a folder: the training, or else the runner of the trial; None if none does."""
    return holder_at(inside(folder)) or holder_at(beside(folder))


@dataclass(frozen=True)
class _Found:
    """A lease as it was read: its holder, the age of its last heartbeat in seconds, and True if it has expired."""

    holder: Holder
    age: float
    expired: bool


def _read(path: Path, now: float) -> _Found | None:
    """Read a lease and compute its age at the time `now`; None if there is no lease.

    Raises:
        OSError: the file cannot be read, as on a disk that does not respond.
    """
    try:
        # Time and content are read from one open file, as another may be renamed over it; O_NONBLOCK: it may be a pipe.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
            age = now - os.fstat(file.fileno()).st_mtime
            holder = Holder.parse(file.read(_LONGEST))
    except FileNotFoundError:
        return None
    return _Found(holder, age, holder.is_gone if holder.is_local else age > EXPIRES_S)


def _seen(path: Path, now: float) -> _Found | None:
    """Read a lease as `_read` does; None also if the file cannot be read."""
    try:
        return _read(path, now)
    except OSError:
        return None


def _servers_time(folder: Path) -> float:
    """Return the current time of the file system; on a shared disk it can differ from this machine's clock."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _clock() -> float:
    """Return seconds of a monotonic clock, including time asleep if the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, 'CLOCK_BOOTTIME') else time.monotonic()


def _create(path: Path, holder: Holder) -> bool:
    """Create a lease file; return false if it exists already."""
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
    """The right to work in a folder."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        self._fresh = _clock()

    @classmethod
    def take(cls, path: Path, launch: str = '') -> Lease | None:
        """Take a lease; None if another process holds it.

        If several processes find an expired lease, the one that creates the file named after its token replaces it.

        Args:
            path: the lease file, from `beside` or `inside`.
            launch: identifier of a launcher that restarts its processes; a lease of an earlier start is taken over.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = Holder.of_this_process(launch)
        if _create(path, mine):
            return cls(path, mine)
        now = _servers_time(path.parent)
        found = _seen(path, now)
        if found is None:
            return None
        expired = found.holder
        if not found.expired and not (launch and expired.launch == launch and not expired.is_local):
            if found.age < -_AHEAD_S and not expired.is_local:
                # The clock was set back, or the file was copied: let its time count from now.
                with contextlib.suppress(OSError):
                    os.utime(path, (now, now))
            return None
        successor = path.with_name(f'{path.name}.{expired.token}')
        if not _create(successor, mine):
            # A process that died here may have left this file: remove it once it is old.
            with contextlib.suppress(OSError):
                if abs(now - successor.stat().st_mtime) > EXPIRES_S:
                    successor.unlink()
            return None
        found = _seen(path, now)
        if found is None or found.holder.token != expired.token:  # another process has already replaced it
            successor.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):  # removed by others if this process was suspended for long
            os.replace(successor, path)
        taken = cls(path, mine)
        return taken if taken.is_mine() else None

    def is_mine(self) -> bool:
        """Return true if this process still holds the lease; one that was suspended for long may have lost it."""
        found = _seen(self.path, time.time())
        return found is not None and found.holder.token == self.holder.token

    def is_lost(self) -> bool:
        """Return true if the file is missing or belongs to another process.

        Raises:
            OSError: the file cannot be read: the disk does not respond, or too many files are open.
        """
        found = _read(self.path, time.time())
        return found is None or found.holder.token != self.holder.token

    def keep(self) -> bool:
        """Renew the lease if `HEARTBEAT_S` have passed since the last time; return false if it is lost."""
        if _clock() - self._fresh < HEARTBEAT_S:
            return True
        try:
            if self.is_lost():
                return False
            os.utime(self.path)
        except FileNotFoundError:
            return False
        except OSError:  # the next call tries again
            return True
        self._fresh = _clock()
        return True

    def release(self) -> None:
        """Release the lease; in a folder that is no longer writable the file stays and expires."""
        if self.is_mine():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Renew a lease from a thread while the block runs, and release it at the end."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S) and lease.keep():
            pass

    thread = threading.Thread(target=beat, name='heartbeat', daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        lease.release()
