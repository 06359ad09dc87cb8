"""Archives of data sets: fetched where there is a network, checked, unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import download_and_extract_archive

from openmix.errors import InputError


@contextmanager
def fetching(name: str, root: Path, url: str, md5: str, file: str = '') -> Iterator[None]:
    """One line with all that is needed to fetch a file by hand for what fails on the way to it.

    Args:
        name: of the data set.
        root: where the file belongs.
        url: of the file.
        md5: its checksum.
        file: its name, if not the URL's last part.

    Raises:
        InputError: the download or the unpacking fails.
    """
    file = file or url.rpartition('/')[2]
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    # tarfile, zipfile and the download raise these; a wrong checksum is a RuntimeError.
    except (OSError, URLError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('. ')
        raise InputError(
            f'{name}: cannot fetch {file} ({reason}); get {url} (md5 {md5}) on another machine, put it under {root} '
            'and repeat the command'
        ) from error


def fetch(name: str, root: Path, url: str, md5: str) -> None:
    """Download an archive below `root` unless it is there already, check its sum and unpack it there.

    Raises:
        InputError: it cannot be fetched or is damaged; the line says how to do it by hand.
    """
    with fetching(name, root, url, md5):
        download_and_extract_archive(url, str(root), md5=md5)
