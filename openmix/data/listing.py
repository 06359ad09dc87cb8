"""List the images in a folder; record which files are skipped and why, by the same rule at every level."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from openmix.errors import InputError, printable

# Hidden files are left behind by editors, file managers and archives, or written by openmix.
HIDDEN = 'hidden'
_MOST_REASONS = 6


class Skipped:
    """The files that a listing skipped: their number by reason, and the first of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def add(self, reason: str, path: str) -> None:
        reason = printable(reason)
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.examples.setdefault(reason, printable(path))

    def line(self, leave_out: Sequence[str] = ()) -> str:
        """Write one line with all reasons and their numbers; '' if nothing was skipped."""
        reasons = [reason for reason in sorted(self.counts) if reason not in leave_out]
        told = [f'{self.counts[reason]} {reason} ({self.examples[reason]})' for reason in reasons[:_MOST_REASONS]]
        more = sum(self.counts[reason] for reason in reasons[_MOST_REASONS:])
        return ', '.join(told) + (f' and {more} others' if more else '')


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder, sorted by name.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f'cannot read the folder {folder}: {error.strerror}') from error


def class_folders(folder: Path, skipped: Skipped) -> dict[str, Path]:
    """List the class folders in a folder by class name, sorted; links are followed.

    Names are normalised to Unicode's NFC, because file systems encode accents in different ways.

    Raises:
        InputError: a link is broken, a name is not UTF-8, or two folders have the same name.
    """
    found: dict[str, Path] = {}
    for entry in entries(folder):
        if entry.name.startswith('.'):
            skipped.add(HIDDEN, entry.path)
        elif _is_folder(entry):
            name = class_name(entry.name, entry.path)
            if name in found:
                raise InputError(f'{str(found[name])!a} and {entry.name!a} beside it are one name; merge them')
            found[name] = Path(entry.path)
        elif _leads_nowhere(entry):
            raise InputError(f'{entry.path} is a link that leads nowhere; mend or remove it')
        else:
            skipped.add('outside the class folders', entry.path)
    return dict(sorted(found.items()))


def class_name(name: str, place: str = '') -> str:
    """Convert a folder's name to the name of a class.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f'{place or name}: the name of a class must be UTF-8; rename the folder') from error
    return unicodedata.normalize('NFC', name)


def images_below(folder: Path, suffixes: Sequence[str], skipped: Skipped) -> list[str]:
    """List the files below a class folder, at any depth, whose names end like images, sorted.

    Files are not opened here. Each folder is read once, however many links point to it, and parents of the class
    folder are not read.

    Raises:
        InputError: a folder cannot be read, or a broken link does not have the name of an image.
    """
    found: list[str] = []
    place = Path(os.path.realpath(folder))
    seen = {_identity(str(above)) for above in place.parents}
    # Links are read last, so that a folder is read at its own place if it is below the class folder.
    folders, links, kinds = [str(folder)], list[str](), tuple(suffixes)
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        identity = _identity(current)
        if identity in seen:
            skipped.add('linked to a folder that is read anyway', current)
            continue
        seen.add(identity)
        for entry in entries(current):
            if entry.name.startswith('.'):
                skipped.add(HIDDEN, entry.path)
            elif _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif entry.name.lower().endswith(kinds):
                found.append(entry.path)
            elif _leads_nowhere(entry):
                raise InputError(f'{entry.path} is a link that leads nowhere; mend or remove it')
            else:
                skipped.add(f'of the kind {Path(entry.name).suffix.lower() or "without a suffix"}', entry.path)
    return sorted(found, key=lambda path: path.split(os.sep))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or a path that is too long
        return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f'cannot read the folder {path}: {error.strerror}') from error
    return status.st_dev, status.st_ino
