"""Atomic writing and renaming of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = '.partial-'


@contextmanager
def appearing(final: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path beside `final`, and rename it to `final` if no error occurs.

    Readers see the old or the new file, never a part of it, and after an error the old file is still there. The
    temporary path has the same suffix, as some writers choose a format by it.
    """
    # Only the end of a long name, as the whole name with a prefix could be too long.
    partial = final.with_name(f'{_PARTIAL}{os.getpid()}-{final.name[-50:]}')
    try:
        yield partial
        with partial.open('rb') as file:
            os.fsync(file.fileno())
        os.replace(partial, final)
        # Sync the folder too: the new name is stored in it.
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    for partial in folder.glob(f'{_PARTIAL}*'):
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with appearing(path) as partial:
        partial.write_text(text, encoding='utf-8')


def set_aside(path: Path, suffix: str, first: str = '') -> Path:
    """Rename a file, folder or link to the first free name with a suffix: a.pth to a.pth.old, or a.pth.old2.

    Args:
        path: the file, folder or link.
        suffix: the suffix, such as 'old'.
        first: the number in the first such name; '' for none.

    Returns:
        The new name.
    """
    aside, number = path.with_name(f'{path.name}.{suffix}{first}'), 2
    while os.path.lexists(aside):
        aside, number = path.with_name(f'{path.name}.{suffix}{number}'), number + 1
    return path.rename(aside)
