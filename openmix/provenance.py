"""The hash of everything that determines a run's numbers: its recipe, openmix's version and its data."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from openmix import __version__
from openmix.config import config_hash
from openmix.declared import value_of
from openmix.registry import DATASETS

_IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm', '.tif', '.tiff')
_ARCHIVES = ('.tar', '.tar.gz', '.tgz', '.zip')
# Links to one folder that are followed: two at every level would double the way at each.
_MOST_WAYS = 16


class Provenance(NamedTuple):
    """The identity of a run: its recipe, its data and the version of openmix; the seed is left out.

    Attributes:
        recipe: see `openmix.config.config_hash`.
        data: see `data_fingerprint`.
    """

    recipe: str
    data: str | None
    version: str = __version__

    @property
    def digest(self) -> str:
        """12 hex digits; results call them `config_hash`."""
        return _digest((self.recipe, self.version, self.data or ''))

    def made(self, digest: str, data: str | None) -> bool:
        """True if a recorded run has this provenance.

        Where the data are not at hand, those of the recorded run are taken for the same.

        Args:
            digest: its `config_hash`.
            data: its fingerprint of the data; None: not recorded.
        """
        return digest == self._replace(data=self.data if self.data is not None else data).digest

    def as_dict(self) -> dict[str, str | None]:
        """The keys and values that `result.json` and `cell.json` record."""
        return {'config_hash': self.digest, 'version': self.version, 'data': self.data}


def provenance(cfg: Config) -> Provenance:
    """The provenance of a run of this recipe with this openmix and the data that are here."""
    return Provenance(config_hash(cfg), data_fingerprint(cfg))


def data_fingerprint(cfg: Config) -> str | None:
    """12 hex digits over the files of the data sets that a recipe trains on and is judged by.

    None where any of them are missing, or where it needs no files. Of a run that starts from another run's weights
    it covers the files of that one too.
    """
    loaders = cfg._cfg_dict.to_dict()
    named = {folder: None for key in ('train', 'val', 'test') for folder in _folders(loaders.get(f'{key}_dataloader'))}
    found = [_fingerprint(folder) for folder in named]
    # Those of the run before are none of its own: '' where that needs no files.
    weights = loaders.get('weights')
    if isinstance(weights, Mapping) and weights.get('run') and weights.get('data') != '':
        found.append(weights.get('data'))
    known = [fingerprint for fingerprint in found if fingerprint is not None]
    return _digest(known) if known and len(known) == len(found) else None


def needs_files(cfg: Config) -> bool:
    """True if a recipe trains on, or is judged by, data sets that lie in files."""
    loaders = cfg._cfg_dict.to_dict()
    return any(True for key in ('train', 'val', 'test') for _ in datasets_in(loaders.get(f'{key}_dataloader')))


def datasets_in(node: Any) -> Iterator[dict[str, Any]]:
    """Every typed dict with a root, however deep."""
    if isinstance(node, Mapping):
        if 'type' in node and isinstance(node.get('root'), str):
            yield dict(node)
        for value in node.values():
            yield from datasets_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from datasets_in(value)


def _folders(loader: Any) -> Iterator[Path]:
    for dataset in datasets_in(loader):
        yield Path(dataset['root']) / _official_folder(str(dataset['type']))


def _official_folder(kind: str) -> str:
    """Find what a data set's archive unpacks to below its root; '' for a data set that does not say."""
    try:
        return str(value_of('data', kind, 'folder', ''))
    except KeyError:  # of one's own
        return str(getattr(DATASETS.get(kind), 'folder', ''))


def _fingerprint(folder: Path) -> str | None:
    """Fingerprint of the files below a folder, 12 hex digits, cached until the folder changes; None without files."""
    try:
        return _fingerprint_as_of(folder.absolute(), folder.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=64)
def _fingerprint_as_of(folder: Path, _changed: int) -> str | None:
    lines = sorted(_files(str(folder)))
    return _digest(lines) if lines else None


def _files(top: str) -> Iterator[str]:
    """The names of all files below a folder, with the sizes of those that are not images.

    Asking a million images for their size takes minutes on a shared disk. Hidden files are openmix's own,
    archives what was unpacked. Links are followed, but not back to a folder above, nor to one folder for ever.
    """
    folders: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [(top, '', (_identity(top),))]
    visits = Counter[tuple[int, int]]()
    while folders:
        folder, name, above = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                place, lower = f'{name}/{entry.name}', entry.name.lower()
                if entry.name.startswith('.') or lower.endswith(_ARCHIVES):
                    continue
                if lower.endswith(_IMAGES):
                    yield place
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    yield f'{place} broken'
                elif entry.is_dir():
                    identity = _identity(entry.path)
                    visits[identity] += 1
                    if identity not in above and visits[identity] <= _MOST_WAYS:
                        folders.append((entry.path, place, (*above, identity)))
                else:
                    yield f'{place} {entry.stat().st_size}'


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256('\n'.join(parts).encode(errors='surrogateescape')).hexdigest()[:12]
