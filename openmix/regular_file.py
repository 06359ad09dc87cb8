"""Read regular files of bounded size; each is opened once, so the file that is checked is the one that is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from openmix.errors import InputError


class Missing(InputError):
    """There is no file with that name, and no link."""


def open_regular(path: str | Path, most: int | None = None, where: str = '') -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Args:
        path: the file.
        most: largest allowed size in bytes; None: any.
        where: start of the error line; the path by default.

    Raises:
        Missing: there is no file.
        InputError: it is a folder, pipe, socket or device, is too large, or is not readable.
    """
    where = where or str(path)
    try:
        # Check before opening, as opening a device can have effects, and after, as the file may have been replaced.
        _check(os.stat(path), most, where)
        file = open(path, 'rb', opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        try:
            _check(os.fstat(file.fileno()), most, where)
        except InputError:
            file.close()
            raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise InputError(f'{where} is a link that leads nowhere') from error
        raise Missing(f'{where} is missing') from error
    except OSError as error:
        raise _unreadable(where, error) from error
    except ValueError as error:  # the name has a NUL byte or a character that cannot be encoded
        raise Missing(f'{where} is missing') from error
    return file


def read_bytes(path: str | Path, most: int, where: str = '') -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        most: largest allowed size in bytes.
        where: start of the error line; the path by default.

    Raises:
        Missing: there is no file.
        InputError: as `open_regular`, or reading fails.
    """
    where = where or str(path)
    with open_regular(path, most, where) as file:
        # Files of the system, as in /proc, have a size of 0 and may be endless.
        size = os.fstat(file.fileno()).st_size or most + 1
        try:
            found = file.read(size)
        except OSError as error:
            raise _unreadable(where, error) from error
    if len(found) > most:
        raise InputError(f'{where} has more than {most} bytes; at most {most} are read')
    return found


def read_text(path: str | Path, most: int) -> str:
    """Read a regular file as UTF-8 text, with or without a byte order mark.

    Args:
        path: the file.
        most: largest allowed size in bytes.

    Raises:
        Missing: there is no file.
        InputError: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, most).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text (byte {error.start}); save it as UTF-8') from error


def read_tail(path: str | Path, most: int) -> bytes:
    """Read the last bytes of a regular file of any size; if it is longer, from the start of a line.

    Args:
        path: the file.
        most: number of bytes.

    Raises:
        Missing: there is no file.
        InputError: as `open_regular`, or reading fails.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            file.seek(max(0, size - most))
            found = file.read(most)
        except OSError as error:
            raise _unreadable(str(path), error) from error
    return found if size <= most else found.partition(b'\n')[2]


def _check(status: os.stat_result, most: int | None, where: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f'{where} is a folder, not a file')
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f'{where} is a pipe, socket or device, not a file')
    if most is not None and status.st_size > most:
        raise InputError(f'{where} has {status.st_size} bytes; at most {most} are read')


def _unreadable(where: str, error: OSError) -> InputError:
    return InputError(f'{where} cannot be read: {error.strerror}')
