"""From image files to one uint8 array, decoded in parallel once and kept in a file."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openmix.errors import InputError
from openmix.files import appearing

CACHE_FOLDER = '.openmix'
_END_OF_JPEG = b'\xff\xd9'
_RGB_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: Path) -> Image.Image:
    """The image of a file, in RGB whatever the file holds.

    Raises:
        InputError: the file is not a readable image.
    """
    with _readable(path), Image.open(path) as image:
        return _in_rgb(image)


def read_pixels(path: Path) -> np.ndarray:
    """The pixels of `read_image`, uint8 (H, W, 3), writable; those of a JPEG file in less time.

    Of a JPEG file that is damaged inside but not cut, OpenCV makes out what it can where Pillow may refuse.

    Raises:
        InputError: the file is not a readable image.
    """
    with _readable(path):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            # OpenCV takes a file that was cut for a whole one, and converts CMYK in its own way.
            if image.format == 'JPEG' and image.mode == 'RGB' and data.endswith(_END_OF_JPEG):
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _RGB_AS_STORED)
                if pixels is not None:
                    return pixels
            return np.array(_in_rgb(image))


def _in_rgb(image: Image.Image) -> Image.Image:
    image.load()
    # Pillow copies what is RGB already.
    return image if image.mode == 'RGB' else image.convert('RGB')


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what is raised on damaged files into an `InputError`."""
    try:
        yield
    # Pillow's decoders raise all of these on damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError, cv2.error) as error:
        raise InputError(
            f'{path} is not a readable image; replace or remove it, or set skip_corrupt=True in the data set'
        ) from error


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at `size` (H, W): the shorter side resized (bicubic), the centre cut out; unchanged if it fits."""
    height, width = size
    if (image.height, image.width) == size:
        return image
    scale = max(height / image.height, width / image.width)
    image = image.resize(
        (max(width, round(image.width * scale)), max(height, round(image.height * scale))), Image.Resampling.BICUBIC
    )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def as_array(image: Image.Image) -> np.ndarray:
    """uint8 (3, H, W) of an RGB image, writable."""
    # Pillow takes a large image's channels apart in half the time of NumPy.
    return np.stack([np.asarray(channel) for channel in image.split()])


def unreadable(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths` that are not readable images."""

    def fails(path: Path) -> bool:
        try:
            read_image(path)
        except InputError:
            return True
        return False

    with ThreadPoolExecutor(_threads()) as pool:
        return [path for path, bad in zip(paths, pool.map(fails, paths)) if bad]


def decode(paths: Sequence[Path], size: tuple[int, int], skip_corrupt: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """All images as uint8 (M, 3, H, W), and which of `paths` they are, (M,) ascending int64.

    Raises:
        InputError: files are unreadable and not to be skipped, or none is readable.
    """
    out = np.empty((len(paths), 3, *size), np.uint8)

    def fill(i: int) -> bool:
        try:
            out[i] = as_array(fit(read_image(paths[i]), size))
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(_threads()) as pool:
        good = np.fromiter(pool.map(fill, range(len(paths))), bool, len(paths))
    bad = np.flatnonzero(~good)
    if len(bad) and (not skip_corrupt or len(bad) == len(paths)):
        more = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
        raise InputError(
            f'{paths[bad[0]]}{more}: not a readable image; replace or remove, or set skip_corrupt=True in the data set'
        )
    if len(bad):
        warnings.warn(f'{len(bad)} unreadable images skipped, the first is {paths[bad[0]]}', stacklevel=2)
        out = out[good]
    return out, np.flatnonzero(good)


def decode_once(
    paths: Sequence[Path],
    size: tuple[int, int],
    root: Path,
    name: str,
    cache: bool | str = True,
    skip_corrupt: bool = False,
) -> tuple[Tensor, Tensor]:
    """`decode`, kept in a file that later starts map into memory instead of decoding again.

    The file's name carries a digest of the list of files, their sizes and times: a changed list is
    decoded anew and the old file removed. It appears only when complete, so several processes may
    start at once. A split with skipped images is not kept.

    Args:
        paths: the files, all below `root`.
        size: (H, W) to decode to.
        root: folder of the data set.
        name: what these files are called among those of the same root; names the file.
        cache: True keeps the file in `root/.openmix`, a string in that folder, False nowhere.
        skip_corrupt: leave unreadable files out.

    Returns:
        uint8 (M, 3, H, W), writable privately, and (M,) int64 which of `paths` they are.

    Raises:
        InputError: see `decode`.
    """
    if cache is False:
        return _tensors(*decode(paths, size, skip_corrupt))
    folder = root / CACHE_FOLDER if cache is True else Path(cache)
    stem = f'{name}-{size[0]}x{size[1]}-'
    file = folder / f'{stem}{_digest(paths, root)}.npy'
    if not file.exists():
        array, kept = decode(paths, size, skip_corrupt)
        if len(kept) < len(paths) or not _write(file, array, stem):
            return _tensors(array, kept)
        del array
    return _tensors(np.load(file, mmap_mode='c'), np.arange(len(paths)))


def _write(file: Path, array: np.ndarray, stem: str) -> bool:
    """Write the array under its final name only when complete, remove older ones; False where it cannot be kept."""
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
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        digest.update(f'{path.relative_to(root)}\0{stat.st_size}\0{stat.st_mtime_ns}\n'.encode())
    return digest.hexdigest()[:16]


def _tensors(array: np.ndarray, kept: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(array), torch.from_numpy(kept)


def _threads() -> int:
    return min(32, os.cpu_count() or 1)
