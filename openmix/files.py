"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = '.partial-'


@contextmanager
def appearing(final: Path) -> Iterator[Path]:
    """A path beside `final` to write to; it takes that name, in one step, when the block ends well.

    Readers see the old file or the new, never a part, and a failure leaves the old one. The suffix
    is kept: some writers choose a format by it.
    """
    # Of a long name its end: the whole of it has no room beside what is put in front.
    partial = final.with_name(f'{_PARTIAL}{os.getpid()}-{final.name[-50:]}')
    try:
        yield partial
        with partial.open('rb') as file:
            os.fsync(file.fileno())
        os.replace(partial, final)
        # The new name lives in the folder, which has its own place on the disk.
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Clear away what killed processes left half written in a folder."""
    for partial in folder.glob(f'{_PARTIAL}*'):
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step, in UTF-8."""
    with appearing(path) as partial:
        partial.write_text(text, encoding='utf-8')


def set_aside(path: Path, suffix: str, first: str = '') -> Path:
    """Rename a file, folder or link to the first free name with a suffix: a.pth to a.pth.old, or a.pth.old2.

    Args:
        first: the number that the first of them carries too, where it does.

    Returns:
        The new name.
    """
    aside, number = path.with_name(f'{path.name}.{suffix}{first}'), 2
    while os.path.lexists(aside):
        aside, number = path.with_name(f'{path.name}.{suffix}{number}'), number + 1
    return path.rename(aside)
