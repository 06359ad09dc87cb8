"""Decode image files in parallel into one uint8 array, which is cached in a file."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openmix.data.read import UnreadableImage, check_grown, read_image
from openmix.errors import InputError, printable
from openmix.files import appearing

CACHE_FOLDER = '.openmix'
# Version of the rules for decoding; arrays in caches of older versions are not used.
_RULES = 2


def fit(image: Image.Image, size: tuple[int, int], name: str = '') -> Image.Image:
    """Resize the shorter side (bicubic) and crop the centre to `size` (H, W); an image of this size is unchanged.

    Raises:
        UnreadableImage: the sides differ so much that the resized image would be too large; the line names the file.
    """
    height, width = size
    if (image.height, image.width) == size:
        return image
    scale = max(height / image.height, width / image.width)
    grown = max(height, round(image.height * scale)), max(width, round(image.width * scale))
    check_grown(name, (image.height, image.width), grown)
    image = image.resize(grown[::-1], Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def as_array(image: Image.Image) -> np.ndarray:
    """Convert an RGB image to a writable uint8 array (3, H, W)."""
    # Pillow splits the channels of a large image in half the time of NumPy.
    return np.stack([np.asarray(channel) for channel in image.split()])


def unreadable(paths: Sequence[Path]) -> list[Path]:
    """Return the files in `paths` that are not readable images."""

    def fails(path: Path) -> bool:
        try:
            read_image(path)
        except UnreadableImage:
            return True
        return False

    with ThreadPoolExecutor(_threads()) as pool:
        return [path for path, bad in zip(paths, pool.map(fails, paths)) if bad]


def decode(paths: Sequence[Path], size: tuple[int, int], skip_corrupt: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Decode images to uint8 (M, 3, H, W); also return their indices in `paths`, (M,) ascending int64.

    Raises:
        InputError: a file is unreadable and `skip_corrupt` is off, or no file is readable.
    """
    out = np.empty((len(paths), 3, *size), np.uint8)

    def fill(i: int) -> str:
        try:
            out[i] = as_array(fit(read_image(paths[i]), size, str(paths[i])))
        except UnreadableImage as error:
            return str(error)
        return ''

    with ThreadPoolExecutor(_threads()) as pool:
        faults = list(pool.map(fill, range(len(paths))))
    bad = [i for i, fault in enumerate(faults) if fault]
    if bad and (not skip_corrupt or len(bad) == len(paths)):
        raise InputError(faults[bad[0]] + _and_more(bad))
    good = np.flatnonzero([not fault for fault in faults])
    if bad:
        warnings.warn(f'{len(bad)} unreadable images skipped, the first is {printable(paths[bad[0]])}', stacklevel=2)
        out = out[good]
    return out, good


def _and_more(bad: Sequence[object]) -> str:
    return f' ({len(bad) - 1} more like it)' if len(bad) > 1 else ''


def decode_once(
    paths: Sequence[Path],
    size: tuple[int, int],
    root: Path,
    name: str,
    cache: bool | str = True,
    skip_corrupt: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode images as `decode` does, and cache the array in a file, which later starts map into memory.

    The file's name contains a hash of the list of files, their sizes and times, and the version of the rules for
    decoding. If these change, the images are decoded again and the old file is removed. The file is written
    atomically, so several processes may start at once. A split with skipped images is not cached.

    Args:
        paths: the files, all below `root`.
        size: (H, W) to decode to.
        root: folder of the data set.
        name: name of this list of files, part of the cache file's name.
        cache: True caches in `root/.openmix`, a string in that folder, False not at all.
        skip_corrupt: leave out unreadable files.

    Returns:
        uint8 (M, 3, H, W), writable without changing the file, and their indices in `paths`, (M,) int64.

    Raises:
        InputError: see `decode`.
    """
    if cache is False:
        return _tensors(*decode(paths, size, skip_corrupt))
    folder = root / CACHE_FOLDER if cache is True else Path(cache)
    stem = f'{name}-{size[0]}x{size[1]}-'
    file = folder / f'{stem}{_digest(paths, root)}.npy'
    array = _kept(file, (len(paths), 3, *size))
    if array is None:
        array, kept = decode(paths, size, skip_corrupt)
        if len(kept) < len(paths) or not _write(file, array, stem):
            return _tensors(array, kept)
        # Another data set with the same cache folder and name may already have removed it.
        mapped = _kept(file, array.shape)
        array = array if mapped is None else mapped
    return _tensors(array, np.arange(len(paths)))


def _kept(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map a cached array into memory; None if there is none, or the file is damaged or holds something else."""
    try:
        array = np.load(file, mmap_mode='c')
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and array.shape == shape and array.dtype == np.uint8 else None


def _write(file: Path, array: np.ndarray, stem: str) -> bool:
    """Write the array atomically and remove older ones; return false if the folder is not writable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with appearing(file) as partial:
            np.save(partial, array)
        for old in file.parent.glob(f'{stem}*.npy'):
            if old != file:
                old.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(
            f'cannot keep decoded images in {file.parent} ({error.strerror}); set cache to a writable folder',
            stacklevel=3,
        )
        return False
    return True


def _digest(paths: Sequence[Path], root: Path) -> str:
    digest = hashlib.sha256(f'{_RULES}\n'.encode())
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue  # a broken link, which decoding reports
        digest.update(os.fsencode(path.relative_to(root)))
        digest.update(f'\0{stat.st_size}\0{stat.st_mtime_ns}\n'.encode())
    return digest.hexdigest()[:16]


def _tensors(array: np.ndarray, kept: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(array), torch.from_numpy(kept)


def _threads() -> int:
    return min(32, os.cpu_count() or 1)
