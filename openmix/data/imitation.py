"""Stand-ins: a few small images in the layout of a data set, to try a recipe without its data."""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from openmix.errors import InputError
from openmix.registry import DATASETS, find

_SIDE = 64
_DIFFERENT = 8  # number of different images, few because encoding takes longer than writing
_AT_LEAST = 40  # images per half, enough for a few labelled and other unlabelled ones

# Folder and arguments of the stand-ins in use; their files pass every checksum.
_IN_USE: list[tuple[Path, str]] = []


@runtime_checkable
class Imitated(Protocol):
    """A data set class that can write a stand-in for its files."""

    def imitate(self, root: Path, **kwargs: Any) -> None: ...


@contextmanager
def imitation(dataset: dict[str, Any], root: Path) -> Iterator[Path]:
    """Write a stand-in with all classes of a data set; until the context ends, its files pass every checksum.

    Args:
        dataset: registry dict.
        root: folder for the stand-in; if it is in use with the same arguments, it is not written again.

    Yields:
        the `root` for the data set.

    Raises:
        InputError: the data set's class has no `imitate`.
    """
    arguments = {key: value for key, value in dataset.items() if key not in ('type', 'root')}
    cls = find(DATASETS, dataset['type'])
    if not isinstance(cls, Imitated):
        raise InputError(no_stand_in(cls.__name__))
    asked = {key: value for key, value in arguments.items() if key in inspect.signature(cls.imitate).parameters}
    stand_in = root.resolve(), f'{cls} {asked!r}'
    if stand_in not in _IN_USE:
        cls.imitate(root, **arguments)
    _IN_USE.append(stand_in)
    try:
        yield root
    finally:
        _IN_USE.remove(stand_in)


def no_stand_in(name: str) -> str:
    """Write the error line for a data set without a stand-in."""
    return (
        f"no stand-in for the data set '{name}': give it a class method imitate(root, **kwargs) that writes a few "
        'images of every class below root as it reads them, see docs/data.md'
    )


def intact(path: Path, md5: str) -> bool:
    """Return true if a file has the published MD5 sum, or is part of a stand-in in use."""
    if _stands_in(path):
        return path.is_file()
    from torchvision.datasets.utils import check_integrity  # slow to import, and few data sets have checksums

    return check_integrity(str(path), md5)


def intact_bytes(path: Path, content: bytes, md5: str) -> bool:
    """Return true if what a file holds, unpacked, has the published MD5 sum, or the file is part of a stand-in."""
    return _stands_in(path) or hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def _stands_in(path: Path) -> bool:
    place = path.resolve()
    return any(place.is_relative_to(root) for root, _ in _IN_USE)


def images_a_class(classes: int) -> int:
    """Return the number of images per class in each half of a stand-in: at least 2, and at least 40 in all."""
    return max(2, -(-_AT_LEAST // classes))


@functools.cache
def _encoded(number: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number, 4, 4, 3)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR).save(file, kind)
    return file.getvalue()


def jpeg(number: int) -> bytes:
    """Return a JPEG file of 64 x 64; there are 8 different ones."""
    return _encoded(number % _DIFFERENT, 'JPEG')


def pixels(seed: int, *shape: int) -> np.ndarray:
    """Draw a uint8 array of this shape; equal seeds give equal arrays."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path: Path, content: bytes | Sequence[str]) -> None:
    """Write a file from bytes or lines, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else ''.join(f'{line}\n' for line in content).encode())
