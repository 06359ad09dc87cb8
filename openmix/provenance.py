"""Hash everything that determines the results of a run: its recipe, openmix's version and its data."""

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
from openmix.config_hash import config_hash
from openmix.declared import value_of
from openmix.registry import DATASETS

_IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm', '.tif', '.tiff')
_ARCHIVES = ('.tar', '.tar.gz', '.tgz', '.zip')
# How often links to the same folder are followed: two links at every level would double the paths at each level.
_MOST_WAYS = 16


class Provenance(NamedTuple):
    """The identity of a run without its seed: its recipe, its data and the version of openmix.

    Attributes:
        recipe: hash of the recipe, see `openmix.config_hash.config_hash`.
        data: fingerprint of the data, see `data_fingerprint`.
        version: version of openmix.
    """

    recipe: str
    data: str | None
    version: str = __version__

    @property
    def digest(self) -> str:
        """The hash of all three, 12 hex digits; `result.json` records it as `config_hash`."""
        return _digest((self.recipe, self.version, self.data or ''))

    def made(self, digest: str, data: str | None) -> bool:
        """Return true if a recorded run has this provenance.

        If the data are not on this machine, they are assumed to be those of the recorded run.

        Args:
            digest: the `config_hash` of the recorded run.
            data: its fingerprint of the data; None: not recorded.
        """
        return digest == self._replace(data=self.data if self.data is not None else data).digest

    def differs(self, digest: str, data: str | None, version: str | None) -> str | None:
        """Say what of a recorded run's data and version differs from these: '' for nothing; None: another recipe.

        None also for a hash that is not that of what is recorded beside it. What is not recorded, and data that are
        not on this machine, count as these.

        Args:
            digest: the `config_hash` of the recorded run.
            data: its fingerprint of the data; None: not recorded, or it needed no files.
            version: its version of openmix; None: not recorded.
        """
        version = version or self.version
        of_version = [f'openmix {version}'] if version != self.version else []
        for known in dict.fromkeys((data or self.data, data)):
            if self._replace(data=known, version=version).digest == digest:
                of_data = [f'data {known or "not recorded"}'] if self.data not in (None, known) else []
                return ' and '.join([*of_data, *of_version])
        return None

    def as_dict(self) -> dict[str, str | None]:
        """Return the keys and values that `result.json` and `cell.json` record."""
        return {'config_hash': self.digest, 'version': self.version, 'data': self.data}


def provenance(cfg: Config) -> Provenance:
    """Compute the provenance of a run of this recipe with this version of openmix and the data on this machine."""
    return Provenance(config_hash(cfg), data_fingerprint(cfg))


def data_fingerprint(cfg: Config) -> str | None:
    """Hash the files of the data sets that a recipe trains on and evaluates, to 12 hex digits.

    None if any of them are missing, or if the recipe needs no files. For a run that starts from another run's
    weights, the hash covers the files of that run too.
    """
    loaders = cfg._cfg_dict.to_dict()
    named = {folder: None for key in ('train', 'val', 'test') for folder in _folders(loaders.get(f'{key}_dataloader'))}
    found = [_fingerprint(folder) for folder in named]
    # The recipe has only the path of a list of images, so the hash covers the content of the file.
    found += [
        _fingerprint_of_list(file)
        for key in ('train', 'val', 'test')
        for file in lists_in(loaders.get(f'{key}_dataloader'))
    ]
    # The fingerprint of the earlier run's data, which the recipe records; '' if that run needs no files.
    weights = loaders.get('weights')
    if isinstance(weights, Mapping) and weights.get('run') and weights.get('data') != '':
        found.append(weights.get('data'))
    known = [fingerprint for fingerprint in found if fingerprint is not None]
    return _digest(known) if known and len(known) == len(found) else None


def needs_files(cfg: Config) -> bool:
    """Return true if a recipe trains on, or evaluates, a data set that is read from files, or cut by a list."""
    loaders = [cfg._cfg_dict.to_dict().get(f'{key}_dataloader') for key in ('train', 'val', 'test')]
    return any(True for loader in loaders for _ in (*datasets_in(loader), *lists_in(loader)))


def datasets_in(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every dict with a `type` and a `root`, at any depth."""
    if isinstance(node, Mapping):
        if 'type' in node and isinstance(node.get('root'), str):
            yield dict(node)
        for value in node.values():
            yield from datasets_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from datasets_in(value)


def lists_in(node: Any) -> Iterator[Path]:
    """Yield every text file that a `subset` names, at any depth."""
    if isinstance(node, Mapping):
        if isinstance(node.get('subset'), str):
            yield Path(node['subset'])
        for value in node.values():
            yield from lists_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from lists_in(value)


def _folders(loader: Any) -> Iterator[Path]:
    for dataset in datasets_in(loader):
        yield Path(dataset['root']) / _official_folder(str(dataset['type']))


def _fingerprint_of_list(file: Path) -> str | None:
    """Hash the content of a file to 12 hex digits; None if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else None
    except OSError:
        return None


def _official_folder(kind: str) -> str:
    """Return the folder below the root that a data set's archive unpacks to; '' if the data set declares none."""
    try:
        return str(value_of('data', kind, 'folder', ''))
    except KeyError:  # a class of the user's own
        return str(getattr(DATASETS.get(kind), 'folder', ''))


def _fingerprint(folder: Path) -> str | None:
    """Hash the files below a folder to 12 hex digits, cached until the folder changes; None if there are no files."""
    try:
        return _fingerprint_as_of(folder.absolute(), folder.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=64)
def _fingerprint_as_of(folder: Path, _changed: int) -> str | None:
    lines = sorted(_files(str(folder)))
    return _digest(lines) if lines else None


def _files(top: str) -> Iterator[str]:
    """Yield the names of all files below a folder, with the sizes of those that are not images.

    Reading the sizes of a million images takes minutes on a shared disk. Hidden files and archives are skipped:
    openmix writes hidden files, and the content of an archive has been unpacked. Links are followed, but not to a
    parent folder, and only `_MOST_WAYS` times to the same folder.
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
