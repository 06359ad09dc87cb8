"""Allow only one training at a time in a folder, by a lease that it holds from start to end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import is_main_process

from openmix.engine.restart import refuse_together, unique_launch
from openmix.errors import InputError
from openmix.lease import Lease, holder_at, inside, kept


class Claim:
    """The right of a training to write into its folder; its first process holds it for all processes.

    Args:
        folder: the run's folder.
        lease: the lease inside it; None in the other processes, which do not write.
    """

    def __init__(self, folder: Path, lease: Lease | None) -> None:
        self.folder, self.lease = folder, lease

    def check(self) -> None:
        """Check that this training still holds the lease; called before every write.

        Raises:
            InputError: another training has taken over the folder, as can happen on a shared disk if this one was
                suspended; or the folder was moved.
            OSError: the lease cannot be read, so nothing must be written; `claimed` turns it into one line.
        """
        if self.lease is None or not self.lease.is_lost():
            return
        holder = holder_at(inside(self.folder))
        by = f'{holder.name} trains in it' if holder else 'its lease is gone'
        raise InputError(f"'{self.folder}' is no longer this training's, {by}: nothing more is written to it")


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold the lease of a run's folder while the block trains in it; every process of the training must call it.

    Raises:
        InputError: another training works there; the line names it. Nothing in the folder is changed.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    lease, why = _take(folder) if is_main_process() else (None, None)
    refuse_together(why)
    if lease is None:
        yield Claim(folder, None)
        return
    try:
        with kept(lease), _writing(folder):
            yield Claim(folder, lease)
    finally:
        # Remove new folders that are still empty, as after a training that was refused before it wrote anything.
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of writing into the folder, as when it was moved or made read-only, into one line."""
    root = os.path.abspath(folder)

    def within(path: str) -> bool:
        return path == root or path.startswith(root + os.sep)

    try:
        yield
    except OSError as error:
        # `within` includes the folder itself, which is opened to sync it after a file was written.
        if not isinstance(error.filename, str | os.PathLike) or not within(os.path.abspath(error.filename)):
            raise
        raise InputError(
            f"cannot write '{error.filename}': {error.strerror}; what was written before is as it was: "
            'see to the folder, and repeat the command with --resume'
        ) from error


def _take(folder: Path) -> tuple[Lease | None, str | None]:
    """Take the lease of a folder; return it, or the reason why that failed."""
    path = inside(folder)
    try:
        lease = Lease.take(path, unique_launch() or '')
    except OSError as error:
        return None, f"cannot write to '{folder}': {error.strerror}; choose another --work-dir"
    if lease is not None:
        return lease, None
    if os.path.lexists(path) and not path.is_file():
        return None, f"'{path}' is no file that a training has written: remove it, or give another --work-dir"
    holder = holder_at(path)
    name = holder.name if holder else 'another process'
    since = f' since {holder.since}' if holder and holder.since else ''
    return None, f"{name} trains in '{folder}'{since}: wait for its end or stop it, or give another --work-dir"
