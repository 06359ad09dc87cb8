"""STL-10 in its official layout, read and downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import STL10 as Reader

from openmix.data.base import ArrayDataset, OfficialHalves
from openmix.data.download import fetching
from openmix.data.facts import Facts
from openmix.data.image_files import check_folder
from openmix.data.imitation import images_a_class, intact, pixels, write
from openmix.data.splits import Subset, source_split
from openmix.errors import InputError
from openmix.registry import DATASETS
from openmix.small import IMAGES

CLASSES = ('airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse', 'monkey', 'ship', 'truck')
FACTS = Facts('STL10', CLASSES, (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713), (96, 96))
_REMEDY = 'run python tools/prepare_dataset.py STL10 --root {root}'


SUMS: dict[str, str] = dict([*Reader.train_list, *Reader.test_list])
UNLABELLED, _UNLABELLED_FILE = 'unlabelled', 'unlabeled_X.bin'


def read_stl10(root: Path, half: str) -> tuple[Tensor, Tensor]:
    """Read images uint8 (N, 3, 96, 96) and labels (N,) int64, -1 if unlabelled, and verify the checksums.

    Args:
        root: folder that contains `stl10_binary`.
        half: 'train', 'test' or 'unlabelled'.

    Raises:
        InputError: files are missing or damaged.
    """
    check_folder('STL10', root, Reader.base_folder, _REMEDY.format(root=root))
    folder = root / Reader.base_folder
    damaged = f'STL10: a file under {folder} is damaged; delete that folder and {_REMEDY.format(root=root)}'
    # Only the unlabelled images need the file of 2.6 GB.
    files = [file for file in SUMS if (file == _UNLABELLED_FILE) == (half == UNLABELLED)]
    for file in files:
        if not (folder / file).is_file():
            raise InputError(f'STL10: {folder / file} is missing; {_REMEDY.format(root=root)}')
    try:
        if not all(intact(folder / file, SUMS[file]) for file in files):
            raise InputError(damaged)
        images = _mapped(folder / (_UNLABELLED_FILE if half == UNLABELLED else f'{half}_X.bin')).reshape(-1, 3, 96, 96)
        if half == UNLABELLED:
            labels = torch.full((len(images),), -1)
        else:
            labels = _mapped(folder / f'{half}_y.bin').long() - 1
            if len(labels) != len(images) or not labels.min() >= 0 or not labels.max() < len(CLASSES):
                raise InputError(damaged)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(damaged) from error
    # The files store columns first; a copy with rows first makes batches faster to read.
    return images.transpose(2, 3).contiguous(), labels


def _mapped(path: Path) -> Tensor:
    """Memory-map a file as uint8; writes stay in this process."""
    return torch.from_numpy(np.memmap(path, np.uint8, mode='c'))


@DATASETS.register_module()
class STL10(OfficialHalves, ArrayDataset):
    """STL-10: 5,000 training and 8,000 test images of 96 x 96, 10 classes, and 100,000 unlabelled images.

    The official ten folds are not used.

    Args:
        root: folder that contains `stl10_binary`.
        split: 'train', 'val' (held out of the training images, needs `val_fraction`), 'test' or 'unlabelled'.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.

    Raises:
        InputError: the files are missing or damaged, or there is no such split.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    folder = Reader.base_folder
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 5000, 'test': 8000, UNLABELLED: 100000}
    more_splits = (UNLABELLED,)

    def __init__(
        self,
        root: str,
        split: str = 'train',
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
    ) -> None:
        images, labels = read_stl10(Path(root), source_split('STL10', split, val_fraction, self.more_splits))
        super().__init__(FACTS, images, labels, split, val_fraction, split_seed, subset)

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return FACTS

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive."""
        with fetching('STL10', root, Reader.url, Reader.tgz_md5):
            Reader(str(root), download=True)

    @classmethod
    def has_labels(cls, split: str = 'train', **kwargs: Any) -> bool:
        return split != UNLABELLED

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write images of every class in both halves, and some unlabelled images."""
        folder, labels = root / Reader.base_folder, [*range(1, len(CLASSES) + 1)] * images_a_class(len(CLASSES))
        for seed, half in enumerate(('train', 'test')):
            write(folder / f'{half}_X.bin', pixels(seed, len(labels), 3, 96, 96).tobytes())
            write(folder / f'{half}_y.bin', bytes(labels))
        write(folder / _UNLABELLED_FILE, pixels(2, 2 * len(labels), 3, 96, 96).tobytes())
