"""CIFAR-10 and CIFAR-100, read and downloaded by torchvision."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from openmix.data.base import ArrayDataset, OfficialHalves
from openmix.data.batch_transforms import resized_crop
from openmix.data.facts import Facts, as_size
from openmix.data.imitation import images_a_class, intact, pixels, write
from openmix.data.lists import read_arrays
from openmix.data.splits import Subset, source_split
from openmix.errors import InputError
from openmix.registry import DATASETS
from openmix.small import IMAGES, SIDE

CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100.split())


def read_cifar(name: str, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor]:
    """Read an official half as images uint8 (N, 3, 32, 32) and labels (N,) int64, and verify the checksums.

    Args:
        name: torchvision's class, 'CIFAR10' or 'CIFAR100'.
        root: folder that contains `cifar-10-batches-py` or `cifar-100-python`.
        train: read the training half; False: the test half.
        download: download missing files.

    Raises:
        InputError: files are missing without `download`, cannot be downloaded, or are damaged.
    """
    reader = _reader(name)
    files = [file for file, *_ in (*reader.train_list, *reader.test_list)] + [reader.meta['filename']]
    paths = [root / reader.base_folder / file for file in files]
    if download:
        if is_main_process() and not all(path.exists() for path in paths):
            root.mkdir(parents=True, exist_ok=True)
            try:
                reader(str(root), train=train, download=True)
            except (OSError, URLError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(
                    f'{name}: cannot download {reader.url} ({reason}); put {reader.filename} under {root} '
                    f'(md5 {reader.tgz_md5}) and repeat the command'
                ) from error
        barrier()  # every process must call it, also one that finds all files
    for path in paths:
        if not path.exists():
            raise InputError(
                f'{name}: {path} is missing; unpack {reader.url} under {root}, '
                'or add --cfg-options train_dataloader.dataset.download=True'
            )
    remedy = 'delete that folder and fetch it again'
    for file, md5 in (*reader.train_list, *reader.test_list, (reader.meta['filename'], reader.meta['md5'])):
        if not intact(root / reader.base_folder / file, md5):
            raise InputError(f'{name}: a file under {paths[0].parent} is damaged; {remedy}')
    half = [paths[0].parent / file for file, *_ in (reader.train_list if train else reader.test_list)]
    batches = [_read_batch(name, path, remedy) for path in half]
    pixels = np.concatenate([data for data, _ in batches]).reshape(-1, 3, 32, 32)
    return torch.from_numpy(pixels), torch.tensor([label for _, labels in batches for label in labels])


def _reader(name: str) -> Any:
    from torchvision import datasets  # slow to import, and not needed for the facts

    return getattr(datasets, name)


def _read_batch(name: str, path: Path, remedy: str) -> tuple[np.ndarray, list[int]]:
    """Read the pixels (n, 3072) and labels of one official file."""
    entry = read_arrays(name, path, remedy)
    data, labels = entry.get('data'), entry.get('labels', entry.get('fine_labels'))
    classes = 10 if 'labels' in entry else 100
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or not isinstance(labels, list)
        or data.shape != (len(labels), 3 * 32 * 32)
        or not all(isinstance(label, int) and 0 <= label < classes for label in labels)
    ):
        raise InputError(f'{name}: {path} does not hold images of 32 x 32 and their labels; {remedy}')
    return data, labels


class _Cifar(OfficialHalves, ArrayDataset):
    """The base class of CIFAR-10 and CIFAR-100.

    Args:
        root: folder that contains the unpacked official Python version.
        split: 'train', 'val' (needs `val_fraction`) or 'test'.
        download: download missing files.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.
        size: one side or (H, W) of the images; other than 32, each batch is resized bicubically, as Pillow does.

    Raises:
        InputError: the files are missing or damaged, the split does not exist, or `size` is out of range.
    """

    FACTS: ClassVar[Facts]
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 50000, 'test': 10000}

    def __init__(
        self,
        root: str,
        split: str = 'train',
        download: bool = False,
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
        size: int | tuple[int, int] = 32,
    ) -> None:
        name = self.FACTS.name
        images, labels = read_cifar(name, Path(root), source_split(name, split, val_fraction) == 'train', download)
        super().__init__(self.facts(size=size), images, labels, split, val_fraction, split_seed, subset)

    @staticmethod
    def small(given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a smoke run."""
        return {'subset': IMAGES, **({'size': SIDE} if 'size' in given else {})}

    @classmethod
    def facts(cls, size: int | tuple[int, int] = 32, **kwargs: Any) -> Facts:
        return replace(cls.FACTS, size=as_size(size, f'{cls.FACTS.name}: size'))

    def images(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images, readable = super().images(indices)
        if images.shape[2:] == self.known.size:
            return images, readable
        start, whole = torch.zeros_like(readable), torch.full_like(readable, images.shape[2])
        return resized_crop(images, start, start, whole, whole, self.known.size, 'bicubic'), readable

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive."""
        read_cifar(cls.FACTS.name, root, train=True, download=True)

    @classmethod
    def corrupted(cls, root: str, split: str, **kwargs: Any) -> dict[str, Any]:
        """Return the registry dict of the published corrupted test images, see `openmix.data.corrupted`."""
        kept: dict[str, Any] = {key: kwargs[key] for key in ('subset', 'split_seed') if key in kwargs}
        return {'type': f'{cls.__name__}C', 'root': root, 'split': split, **kept}

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write all pickle files, each with images of every class."""
        reader, classes = _reader(cls.FACTS.name), len(cls.FACTS.classes)
        folder, names = root / reader.base_folder, reader.meta['key']
        key = 'labels' if names == 'label_names' else 'fine_labels'
        labels = [*range(classes)] * images_a_class(classes)
        for seed, (file, *_) in enumerate((*reader.train_list, *reader.test_list)):
            write(folder / file, pickle.dumps({'data': pixels(seed, len(labels), 3072), key: labels}))
        write(folder / reader.meta['filename'], pickle.dumps({names: [*cls.FACTS.classes]}))


@DATASETS.register_module()
class CIFAR10(_Cifar):
    """CIFAR-10: 50,000 and 10,000 images of 32 x 32, 10 classes. Arguments: see `_Cifar`."""

    folder = 'cifar-10-batches-py'
    FACTS = Facts('CIFAR10', CIFAR10_CLASSES, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), (32, 32))


@DATASETS.register_module()
class CIFAR100(_Cifar):
    """CIFAR-100: 50,000 and 10,000 images of 32 x 32, 100 classes. Arguments: see `_Cifar`."""

    folder = 'cifar-100-python'
    FACTS = Facts('CIFAR100', CIFAR100_CLASSES, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), (32, 32))
