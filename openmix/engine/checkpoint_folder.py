"""Find, order, rename and delete the checkpoints in a run's folder."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from openmix import files
from openmix.engine.checkpoint import Checkpoint, load_checkpoint
from openmix.errors import InputError
from openmix.weights_file import peek

# The checkpoint between two regular ones, and the file that contains the path of the newest.
LATEST, POINTER = 'latest.pth', 'last_checkpoint'
_KINDS = ('epoch_*.pth', 'iter_*.pth', LATEST)


@dataclass(frozen=True)
class Position:
    """The position in the training at which a checkpoint was saved.

    Attributes:
        iteration: number of iterations trained; None if the file does not say.
        batches: iterations per epoch; None if the file does not say.
    """

    iteration: int | None = None
    batches: int | None = None


def position_of(path: Path) -> Position:
    """Read a checkpoint's position in the training; unknown if the file cannot be read."""
    try:
        at = path.stat()
        return _position(path, (at.st_dev, at.st_ino, at.st_size, at.st_ctime_ns))
    except (InputError, OSError):
        return Position()


@functools.lru_cache(maxsize=64)
def _position(path: Path, state: tuple[int, ...]) -> Position:
    """Read the position once for each state of a file: after each save, every checkpoint in the folder is looked at.

    Raises:
        InputError: the file cannot be read.
    """
    content = peek(path)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return Position()
    iteration, batches = (meta.get(key) for key in ('iter', 'batches_per_epoch'))
    return Position(
        iteration if type(iteration) is int and iteration >= 0 else None,
        batches if type(batches) is int and batches > 0 else None,
    )


def checkpoints_in(folder: Path) -> list[Path]:
    """List the checkpoints in a run's folder, the one with the most iterations first.

    The order is by the iteration in the file's content, or by the number in its name if that cannot be read, and not
    by file time, which changes when files are copied or a clock is set back.
    """
    found = {path: position_of(path) for kind in _KINDS for path in folder.glob(kind)}
    batches = max((at.batches for at in found.values() if at.batches), default=1)

    def order(path: Path) -> tuple[float, bool, str]:
        iteration: float | None = found[path].iteration
        if iteration is None:
            iteration = _iteration_by_name(path.name, batches)
        return iteration, path.name != LATEST, path.name

    return sorted(found, key=order, reverse=True)


def _iteration_by_name(name: str, batches: int) -> float:
    number = re.fullmatch(r'(epoch|iter)_(\d{1,15})\.pth', name)
    if number is None:  # `latest.pth` exists only while it is the newest
        return float('inf') if name == LATEST else -1
    return int(number[2]) * (batches if number[1] == 'epoch' else 1)


def retire(folder: Path, beyond: int) -> list[Path]:
    """Rename the checkpoints of another run or branch, so that `--resume` does not use them.

    Args:
        folder: the run's folder.
        beyond: rename those with more iterations than this, and those that cannot be read; 0: all of them.

    Returns:
        the new names.
    """
    others = [path for path in checkpoints_in(folder) if beyond == 0 or not _is_within(path, beyond)]
    if others:
        (folder / POINTER).unlink(missing_ok=True)
    return [files.set_aside(path, 'old') for path in others]


def _is_within(path: Path, iterations: int) -> bool:
    at = position_of(path).iteration
    return at is not None and at <= iterations


def prune(folder: Path, keep: int, written: Collection[str]) -> None:
    """Delete the oldest `epoch_<N>.pth` and `iter_<N>.pth`.

    Args:
        folder: the run's folder.
        keep: number of files to keep.
        written: names of files that are not deleted, whatever their order.
    """
    kept = [path for path in checkpoints_in(folder) if path.name != LATEST]
    for path in kept[keep:]:
        if path.name not in written and (path.is_file() or path.is_symlink()):
            path.unlink()


def last_good(folder: Path) -> str:
    """Name the newest checkpoint, for the end of an error line."""
    newest = next(iter(checkpoints_in(folder)), None)
    return f"the last good checkpoint is '{newest}'" if newest else 'there is no earlier checkpoint'


def newest_intact(folder: Path) -> Checkpoint:
    """Read the newest checkpoint that is not damaged; a line on stderr names each that is.

    Raises:
        InputError: there is none.
    """
    for path in checkpoints_in(folder):
        try:
            return load_checkpoint(path)
        except InputError as error:
            print(f'warning: passed over: {error}', file=sys.stderr)
    raise InputError(f"nothing to resume in '{folder}'; leave out --resume to start")
