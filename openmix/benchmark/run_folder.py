"""Prepare the folder of a trial for a run, and read the end of its log."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from openmix.benchmark.trial import Trial
from openmix.benchmark.trial_files import tail
from openmix.errors import NO_ROOM, InputError
from openmix.files import set_aside, write_text

_LOG_LINES = 12
_WRITTEN = ('log.txt', 'metrics.jsonl', 'exit_code')  # files of a run; cell.json and result.json are checked elsewhere


def log_tail(folder: Path, lines: int = _LOG_LINES) -> list[str]:
    """Read the last lines of a trial's `log.txt`; the error line if it cannot be read."""
    try:
        return tail(folder / 'log.txt').decode('utf-8', 'replace').splitlines()[-lines:]
    except InputError as error:
        return [str(error)]


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of writing a trial's folder, or a file in or beside it, into one line, except for a full disk."""
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename
        ours = isinstance(path, str | Path) and (
            Path(path) in folder.parents or Path(path).is_relative_to(folder.parent)
        )
        if error.errno in NO_ROOM or not ours:
            raise
        raise InputError(f"cannot write '{path}': {error.strerror}; see to it, or give another --work-dir") from error


def ready(trial: Trial, say: Callable[[str], None]) -> tuple[bool, Path, IO[bytes]]:
    """Prepare a trial's folder for a run; a run of another recipe or seed is set aside.

    Args:
        trial: a trial whose lease this process holds.
        say: prints one line.

    Returns:
        True if the run is resumed, the file of its recipe, and its open `log.txt`.
    """
    if trial.is_stale():
        gone = trial.lacks_checkpoint()
        why = 'its last checkpoint is gone' if gone else 'its config, its seed or the version has changed'
        say(f'{trial.name}: {why}; the old run is kept in {set_aside(trial.folder, "old", first="1")}')
    trial.folder.mkdir(parents=True, exist_ok=True)
    _clear_places(trial, say)
    resume = trial.resumable()
    config = trial.config_path
    write_text(config, trial.cell.config_text())
    write_text(trial.folder / 'cell.json', json.dumps(trial.identity, indent=1) + '\n')
    if not resume:
        (trial.folder / 'metrics.jsonl').unlink(missing_ok=True)
    log = open(trial.folder / 'log.txt', 'ab' if resume or trial.failures() else 'wb')  # noqa: SIM115  the caller closes it
    return resume, config, log


def _clear_places(trial: Trial, say: Callable[[str], None]) -> None:
    """Rename pipes, folders and broken links at the paths of a run's files: opening one may block forever."""
    for path in (trial.folder / name for name in _WRITTEN):
        if os.path.lexists(path) and not path.is_file():
            say(f'{trial.name}: {path} is no regular file and is now {set_aside(path, "old")}')
