"""STL-10 in its official layout, read and downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.datasets import STL10 as Reader

from openmix.data.base import ArrayDataset, OfficialHalves
from openmix.data.download import fetching
from openmix.data.facts import Facts
from openmix.data.image_files import check_folder
from openmix.data.splits import source_split
from openmix.errors import InputError
from openmix.registry import DATASETS

CLASSES = ('airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse', 'monkey', 'ship', 'truck')
FACTS = Facts('STL10', CLASSES, (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713), (96, 96))
_REMEDY = 'run python tools/prepare_dataset.py STL10 --root {root}'


class _Labelled(Reader):
    """torchvision's reader, which otherwise wants the 2.6 GB of images without labels too."""

    train_list = Reader.train_list[:2]


def read_stl10(root: Path, train: bool) -> tuple[Tensor, Tensor]:
    """One official half as images uint8 (N, 3, 96, 96) and labels (N,) int64; files are checked by their sums.

    Raises:
        InputError: files are missing or damaged.
    """
    check_folder('STL10', root, Reader.base_folder, _REMEDY.format(root=root))
    folder = root / Reader.base_folder
    for file, _ in (*_Labelled.train_list, *_Labelled.test_list):
        if not (folder / file).is_file():
            raise InputError(f'STL10: {folder / file} is missing; {_REMEDY.format(root=root)}')
    damaged = f'STL10: a file under {folder} is damaged; delete that folder and {_REMEDY.format(root=root)}'
    try:
        half = _Labelled(str(root), 'train' if train else 'test')
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(damaged) from error
    if len(half.labels) != len(half.data) or (half.labels >= len(CLASSES)).any():
        raise InputError(damaged)
    # The files hold columns first; a copy in the order of rows is what every batch reads.
    return torch.from_numpy(half.data).contiguous(), torch.from_numpy(half.labels).long()


@DATASETS.register_module()
class STL10(OfficialHalves, ArrayDataset):
    """STL-10: 5,000 training and 8,000 test images of 96 x 96, 10 classes; the folds are not used.

    Args:
        root: the folder that holds `stl10_binary`.
        split: 'train', 'val' (held out of the training images, needs `val_fraction`) or 'test'.
        val_fraction: share of each class held out of the training images.
        split_seed: draws the held-out images and the subset.
        subset: take only that many images, balanced over the classes.

    Raises:
        InputError: the files are missing or damaged, or the split does not exist.
    """

    folder = Reader.base_folder
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 5000, 'test': 8000}

    def __init__(
        self, root: str, split: str = 'train', val_fraction: float = 0.0, split_seed: int = 0, subset: int | None = None
    ) -> None:
        images, labels = read_stl10(Path(root), source_split('STL10', split, val_fraction) == 'train')
        super().__init__(FACTS, images, labels, split, val_fraction, split_seed, subset)

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return FACTS

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive."""
        with fetching('STL10', root, Reader.url, Reader.tgz_md5):
            Reader(str(root), download=True)
