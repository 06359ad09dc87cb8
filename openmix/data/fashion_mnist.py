"""Fashion-MNIST from its four IDX files, packed or not: Debian's, torchvision's or the publisher's."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST as Reader

from openmix.data.base import ArrayDataset, OfficialHalves
from openmix.data.download import fetching
from openmix.data.facts import Facts
from openmix.data.imitation import images_a_class, intact_bytes, pixels, write
from openmix.data.splits import Subset, source_split
from openmix.errors import InputError
from openmix.registry import DATASETS
from openmix.regular_file import read_bytes
from openmix.small import IMAGES

FACTS = Facts('FashionMNIST', tuple(Reader.classes), (0.2860,) * 3, (0.3530,) * 3, (28, 28))
_REMEDY = 'run python tools/prepare_dataset.py FashionMNIST --root {root}'
_RAW = 'FashionMNIST/raw'  # torchvision's folder
# file without .gz -> the publisher's MD5 sum of the bytes in it
SUMS = {
    'train-images-idx3-ubyte': 'f4a8712d7a061bf5bd6d2ca38dc4d50a',
    'train-labels-idx1-ubyte': '9018921c3c673c538a1fc5bad174d6f9',
    't10k-images-idx3-ubyte': '8181f5470baa50b63fa0f6fddb340f0a',
    't10k-labels-idx1-ubyte': '15d484375f8d13e6eb1aabb0c3f46965',
}
_HALVES = {'train': 'train', 'test': 't10k'}
_MOST_BYTES = 64 << 20
_MAGIC = {1: 0x801, 3: 0x803}  # of an IDX file of bytes, by its number of dimensions


def read_fashion_mnist(root: Path, half: str) -> tuple[Tensor, Tensor]:
    """Read images uint8 (N, 3, 28, 28), which share one channel, and labels (N,) int64, and verify the checksums.

    Args:
        root: folder of the files, or the one that contains `FashionMNIST/raw`.
        half: 'train' or 'test'.

    Raises:
        InputError: files are missing or damaged.
    """
    name = _HALVES[half]
    images, labels = _read(root, f'{name}-images-idx3-ubyte', 3), _read(root, f'{name}-labels-idx1-ubyte', 1)
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or labels.max(initial=0) >= len(FACTS.classes):
        raise InputError(
            f'FashionMNIST: the {half} files under {root} do not belong together; {_REMEDY.format(root=root)}'
        )
    return torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1), torch.from_numpy(labels).long()


def _read(root: Path, name: str, dimensions: int) -> np.ndarray:
    folders = (root, root / _RAW)
    path = next((path for each in folders for path in (each / name, each / f'{name}.gz') if path.is_file()), None)
    if path is None:
        raise InputError(f'FashionMNIST: {root / name} is missing, packed (.gz) or not; {_REMEDY.format(root=root)}')
    damaged = f'FashionMNIST: {path} is damaged; delete it and {_REMEDY.format(root=root)}'
    data = read_bytes(path, _MOST_BYTES)
    try:
        if path.suffix == '.gz':
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(damaged) from error
    head = 4 * (1 + dimensions)
    if not head <= len(data) <= _MOST_BYTES or not intact_bytes(path, data, SUMS[name]):
        raise InputError(damaged)
    magic, *shape = (int(number) for number in np.frombuffer(data[:head], '>u4'))
    if magic != _MAGIC[dimensions] or len(data) != head + int(np.prod(shape)):
        raise InputError(damaged)
    # A copy, because bytes cannot be written to, of which torch warns.
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape).copy()


@DATASETS.register_module()
class FashionMNIST(OfficialHalves, ArrayDataset):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 x 28, grey in three channels, 10 classes.

    Args:
        root: folder of the four files, or the one that contains `FashionMNIST/raw`; Debian's package
            `dataset-fashion-mnist` has them in /usr/share/datasets/fashion-mnist.
        split: 'train', 'val' (held out of the training images, needs `val_fraction`) or 'test'.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.

    Raises:
        InputError: the files are missing or damaged, or there is no such split.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 60000, 'test': 10000}

    def __init__(
        self,
        root: str,
        split: str = 'train',
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
    ) -> None:
        images, labels = read_fashion_mnist(Path(root), source_split('FashionMNIST', split, val_fraction))
        super().__init__(FACTS, images, labels, split, val_fraction, split_seed, subset)

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return FACTS

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download the four files, 30 MB."""
        for file, md5 in Reader.resources:
            with fetching('FashionMNIST', root, f'{Reader.mirrors[0]}{file}', md5):
                Reader(str(root), download=True)

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write images of every class in both halves."""
        labels = [*range(len(FACTS.classes))] * images_a_class(len(FACTS.classes))
        for seed, name in enumerate(_HALVES.values()):
            images = pixels(seed, len(labels), 28, 28)
            write(root / f'{name}-images-idx3-ubyte', _idx(images))
            write(root / f'{name}-labels-idx1-ubyte', _idx(np.array(labels, np.uint8)))


def _idx(array: np.ndarray) -> bytes:
    """Write a uint8 array as the bytes of an IDX file."""
    return np.array([_MAGIC[array.ndim], *array.shape], '>u4').tobytes() + array.tobytes()
