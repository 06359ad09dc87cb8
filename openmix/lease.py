"""A lease says who trains in a folder: a file that one process alone creates, keeps fresh, and that expires.

It needs of a shared disk only that creating and renaming a file are atomic, which NFS grants and locks do not. On one
machine nothing expires: a process that lives holds what it took, also while it is suspended, and one that has ended
holds nothing. Between machines a lease without a sign of life for `EXPIRES_S` has expired.

A runner of a table holds the lease beside a trial's folder, a training the one inside its folder.
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
# By which a lease may be dated ahead of the disk's own clock, which dates it.
_AHEAD_S = 5
_LONGEST = 2**16  # bytes, of a lease


@dataclass(frozen=True)
class Holder:
    """Names the process that took a lease.

    Attributes:
        host: for people.
        machine: tells machines, and containers with process numbers of their own, apart.
        started: when the process did, in the words of its system; tells it from a later one with its number.
        token: of this one lease.
        launch: of a launcher that starts its processes again, what all starts have in common; else empty.
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
        """The holder of a lease that this process takes now."""
        since, pid = time.strftime('%Y-%m-%dT%H:%M:%S%z'), os.getpid()
        return cls(socket.gethostname(), _machine(), pid, since, uuid.uuid4().hex, _started(pid) or '', launch)

    @classmethod
    def parse(cls, text: bytes) -> Holder:
        """Read a lease; one that is being written, or is damaged, has a holder that is not known."""
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
        """Name it as messages do."""
        return f'process {self.pid} on {self.host}' if self.pid else f'a process on {self.host}'

    @property
    def is_local(self) -> bool:
        """Tell whether it runs on this machine, so that it can be seen whether it lives."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Tell whether it can be seen from here that the process has ended."""
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
    with contextlib.suppress(OSError):  # only Linux has them
        found.append(Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip())
        found.append(os.readlink('/proc/self/ns/pid'))
    return '/'.join(found)


def _started(pid: int) -> str | None:
    """Ask when a process of this machine started: '' if it has ended and waits for its parent, None if unknown."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    state, *rest = text.rpartition(')')[2].split()
    return '' if state in 'ZX' else rest[18]


def beside(folder: Path) -> Path:
    """The lease of who runs a trial; beside its folder, so that setting the folder aside does not move it."""
    return folder.with_name(f'{folder.name}.lease')


def inside(folder: Path) -> Path:
    """The lease of the training that writes into a folder."""
    return folder / 'training.lease'


def holder_at(path: Path) -> Holder | None:
    """The process that holds a lease; None where there is none, or it has expired."""
    found = _seen(path, time.time())
    return None if found is None or found.expired else found.holder


def holder_of(folder: Path) -> Holder | None:
    """The process that is at work in a folder: the training in it, or who runs it; None where there is none."""
    return holder_at(inside(folder)) or holder_at(beside(folder))


@dataclass(frozen=True)
class _Found:
    """A lease as it was read: its holder, the age of its last heartbeat in seconds, and True if it has expired."""

    holder: Holder
    age: float
    expired: bool


def _read(path: Path, now: float) -> _Found | None:
    """Read a lease by the clock `now`; None where there is none.

    Raises:
        OSError: there is no telling, as on a disk that does not answer.
    """
    try:
        # One file, whatever is renamed over it meanwhile; a pipe by its name is not waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
            age = now - os.fstat(file.fileno()).st_mtime
            holder = Holder.parse(file.read(_LONGEST))
    except FileNotFoundError:
        return None
    return _Found(holder, age, holder.is_gone if holder.is_local else age > EXPIRES_S)


def _seen(path: Path, now: float) -> _Found | None:
    """Read a lease as `_read` does; None also where there is no telling."""
    try:
        return _read(path, now)
    except OSError:
        return None


def _servers_time(folder: Path) -> float:
    """The time by which the disk dates files: on a shared one not this machine's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where it has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, 'CLOCK_BOOTTIME') else time.monotonic()


def _create(path: Path, holder: Holder) -> bool:
    """Create the file of a lease; False where it exists already."""
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
        """The lease that is this file; None where another process holds it.

        An expired lease is replaced by the one process that creates the file named after its token.

        Args:
            path: `beside` or `inside` a folder.
            launch: of a launcher that starts its processes again; what an earlier start of it holds is taken over.
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
                # The clock was set back since, or the file was copied: its time counts from now.
                with contextlib.suppress(OSError):
                    os.utime(path, (now, now))
            return None
        successor = path.with_name(f'{path.name}.{expired.token}')
        if not _create(successor, mine):
            # Left by a process that died at this very place.
            with contextlib.suppress(OSError):
                if abs(now - successor.stat().st_mtime) > EXPIRES_S:
                    successor.unlink()
            return None
        found = _seen(path, now)
        if found is None or found.holder.token != expired.token:  # another successor was done before
            successor.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):  # suspended so long that others took it for dead
            os.replace(successor, path)
        taken = cls(path, mine)
        return taken if taken.is_mine() else None

    def is_mine(self) -> bool:
        """Tell whether the file still says so: a process that was suspended for long may have lost it."""
        found = _seen(self.path, time.time())
        return found is not None and found.holder.token == self.holder.token

    def is_lost(self) -> bool:
        """Tell whether the file is gone, or another's.

        Raises:
            OSError: there is no telling: the disk does not answer, or no more files may be open.
        """
        found = _read(self.path, time.time())
        return found is None or found.holder.token != self.holder.token

    def keep(self) -> bool:
        """Show, every `HEARTBEAT_S`, that the process is alive; False where the lease is seen to be lost."""
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
        """Give it back; in a folder that cannot be written to any more it stays, and expires."""
        if self.is_mine():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Keep a lease fresh from a thread while the block runs, and give it back at its end."""
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
