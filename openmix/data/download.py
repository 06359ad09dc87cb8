"""Download, check and unpack archives of data sets."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.error import URLError

from torchvision.datasets.utils import check_integrity, download_url

from openmix.errors import InputError


@contextmanager
def fetching(name: str, root: Path, url: str, md5: str, file: str = '') -> Iterator[None]:
    """Turn errors inside the block into one line with everything that is needed to get a file by hand.

    Args:
        name: name of the data set.
        root: folder for the file.
        url: URL of the file.
        md5: checksum of the file.
        file: name of the file; the last part of the URL by default.

    Raises:
        InputError: the download or the unpacking fails.
    """
    file = file or url.rpartition('/')[2]
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    # Raised by tarfile, zipfile and the download; a wrong checksum is a RuntimeError.
    except (OSError, URLError, RuntimeError, EOFError, ValueError) as error:
        reason = _first_line(error)
        raise InputError(
            f'{name}: cannot fetch {file} ({reason}); get {url} (md5 {md5}) on another machine, put it under {root} '
            'and repeat the command'
        ) from error


def fetch(name: str, root: Path, url: str, md5: str) -> None:
    """Download an archive to `root` unless it is there already, check its checksum and unpack it there.

    Raises:
        InputError: it cannot be downloaded or is damaged; the line says how to get it by hand.
    """
    file = url.rpartition('/')[2]
    with fetching(name, root, url, md5):
        download_url(url, str(root), file, md5)
        unpack(root / file, root)


def unpack_checked(file: Path, folder: Path, md5: str | None) -> None:
    """Unpack an archive whose checksum is known.

    Raises:
        RuntimeError: the file is missing, or its checksum differs.
        InputError: see `unpack`.
    """
    if not check_integrity(str(file), md5):
        raise RuntimeError('the checksum differs' if file.exists() else 'it is not there')
    unpack(file, folder)


def unpack(file: Path, folder: Path) -> None:
    """Unpack a tar or zip archive into a folder, if all its members stay inside that folder.

    Raises:
        InputError: a member is outside the folder, links outside, or is not a file or folder; the archive is
            damaged; or the disk is too small. The line names the archive.
    """
    if not hasattr(tarfile, 'data_filter'):
        raise InputError('this Python unpacks whatever an archive says; take 3.10.12, 3.11.4 or newer')
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    try:
        (_unpack_zip if zipfile.is_zipfile(file) else _unpack_tar)(file, folder, free)
    except tarfile.FilterError as error:
        raise InputError(f'{file}: {_first_line(error)}; do not trust it') from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise InputError(f'{file} is damaged: {_first_line(error)}; delete it and repeat the command') from error


def _unpack_zip(file: Path, folder: Path, free: int) -> None:
    with zipfile.ZipFile(file) as packed:
        _check_room(file, sum(member.file_size for member in packed.infolist()), free)
        for member in packed.infolist():
            parts = PurePosixPath(member.filename.replace('\\', '/')).parts
            if '..' in parts or parts[:1] == ('/',) or stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(f'{file}: {member.filename!a} leaves its folder; do not trust it')
        packed.extractall(folder)


def _unpack_tar(file: Path, folder: Path, free: int) -> None:
    with tarfile.open(file) as packed:
        size = 0
        for member in packed:
            size += member.size
            _check_room(file, size, free)
            packed.extract(member, folder, filter='data')


def _check_room(file: Path, size: int, free: int) -> None:
    if size > free:
        raise InputError(f'{file} unpacks to more than the {free / 2**30:.3g} GiB that were free; make room')


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('. ')
