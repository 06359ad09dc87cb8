"""Small images in the official layout of a data set, to try a recipe without its data."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets as readers

from openmix.data import stl10, tiny_imagenet
from openmix.data.cifar import CIFAR10, CIFAR100
from openmix.data.cub200 import CUB200
from openmix.data.digits import Digits
from openmix.data.fgvc_aircraft import FGVCAircraft
from openmix.data.image_folder import ImageFolder
from openmix.data.imagenet import ImageNet, official_classes
from openmix.data.stanford_cars import StanfordCars
from openmix.errors import InputError
from openmix.registry import DATASETS, find

IMAGES = 8  # in every file of many; where each image is a file there is one a class
_SIDE = 64


@contextmanager
def imitation(dataset: dict[str, Any], root: Path) -> Iterator[Path]:
    """Write a stand-in for a data set, with all its classes, and take its checksums for the official ones meanwhile.

    Args:
        dataset: registry dict.
        root: an empty folder.

    Yields:
        what to give as the data set's `root`.

    Raises:
        InputError: nobody has said what the layout of this data set is.
    """
    cls = find(DATASETS, dataset['type'])
    if cls not in _WRITERS:
        known = ', '.join(sorted(known.__name__ for known in _WRITERS))
        raise InputError(f"no stand-in for the data set '{dataset['type']}'; there are those of {known}")
    with ExitStack() as accepted:
        for reader in _WRITERS[cls](cls, root):
            accepted.enter_context(_accepting(reader, root))
        yield root


def _jpegs() -> list[bytes]:
    """A few different images, encoded."""
    rng, found = np.random.default_rng(0), []
    for _ in range(IMAGES):
        file = io.BytesIO()
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        small.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR).save(file, 'JPEG')
        found.append(file.getvalue())
    return found


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _lines(lines: list[str]) -> str:
    return '\n'.join(lines) + '\n'


def _cifar(cls: Any, root: Path) -> list[Any]:
    reader: Any = getattr(readers, cls.FACTS.name)
    folder, rng = root / reader.base_folder, np.random.default_rng(0)
    names = reader.meta['key']
    labels = 'labels' if names == 'label_names' else 'fine_labels'
    classes = list(cls.FACTS.classes)
    for file, *_ in (*reader.train_list, *reader.test_list):
        pixels = rng.integers(0, 256, (IMAGES, 3072), np.uint8)
        _write(folder / file, pickle.dumps({'data': pixels, labels: [i % len(classes) for i in range(IMAGES)]}))
    _write(folder / reader.meta['filename'], pickle.dumps({names: classes}))
    return [reader]


def _stl10(cls: Any, root: Path) -> list[Any]:
    reader, rng = stl10._Labelled, np.random.default_rng(0)
    for half in ('train', 'test'):
        pixels = rng.integers(0, 256, IMAGES * 3 * 96 * 96, np.uint8)
        _write(root / reader.base_folder / f'{half}_X.bin', pixels.tobytes())
        _write(root / reader.base_folder / f'{half}_y.bin', np.arange(1, IMAGES + 1, dtype=np.uint8).tobytes())
    return [reader]


def _tiny_imagenet(cls: Any, root: Path) -> list[Any]:
    wnids, jpegs = tiny_imagenet.OFFICIAL_WNIDS, _jpegs()
    for i, wnid in enumerate(wnids):
        _write(root / 'train' / wnid / 'images' / f'{wnid}_0.JPEG', jpegs[i % IMAGES])
        _write(root / 'val' / 'images' / f'val_{i}.JPEG', jpegs[-1 - i % IMAGES])
    _write(root / 'val' / 'val_annotations.txt', _lines([f'val_{i}.JPEG\t{wnid}' for i, wnid in enumerate(wnids)]))
    _write(root / 'wnids.txt', _lines(list(wnids)))
    return []


def _imagenet(cls: Any, root: Path) -> list[Any]:
    jpegs = _jpegs()
    for i, wnid in enumerate(official_classes()):
        _write(root / 'train' / wnid / f'{wnid}_0.JPEG', jpegs[i % IMAGES])
        _write(root / 'val' / wnid / f'ILSVRC2012_val_{i + 1:08d}.JPEG', jpegs[-1 - i % IMAGES])
    return []


def _cub200(cls: Any, root: Path) -> list[Any]:
    folder, jpegs = root / 'CUB_200_2011', _jpegs()
    names = [f'{int(number):03d}.Kind_{number}' for number in cls.facts().classes]
    images = [f'{name}/{half}.jpg' for name in names for half in ('train', 'test')]
    for i, image in enumerate(images):
        _write(folder / 'images' / image, jpegs[i % IMAGES])
    numbered = range(1, len(images) + 1)
    _write(folder / 'classes.txt', _lines([f'{c + 1} {name}' for c, name in enumerate(names)]))
    _write(folder / 'images.txt', _lines([f'{number} {image}' for number, image in zip(numbered, images)]))
    _write(folder / 'image_class_labels.txt', _lines([f'{number} {(number + 1) // 2}' for number in numbered]))
    _write(folder / 'train_test_split.txt', _lines([f'{number} {number % 2}' for number in numbered]))
    return []


def _fgvc_aircraft(cls: Any, root: Path) -> list[Any]:
    folder, jpegs = root / 'fgvc-aircraft-2013b' / 'data', _jpegs()
    variants = [f'Variant {number}' for number in cls.facts().classes]
    images = {split: [(f'{split}{i}', variant) for i, variant in enumerate(variants)] for split in ('trainval', 'test')}
    for split, rows in images.items():
        for i, (image, _) in enumerate(rows):
            _write(folder / 'images' / f'{image}.jpg', jpegs[i % IMAGES])
        _write(folder / f'images_variant_{split}.txt', _lines([f'{image} {variant}' for image, variant in rows]))
    _write(folder / 'variants.txt', _lines(variants))
    return []


def _stanford_cars(cls: Any, root: Path) -> list[Any]:
    from scipy.io import savemat  # slow to import, and only this data set needs it

    folder, jpegs = root / 'stanford_cars', _jpegs()
    names = [f'Model {number}' for number in cls.facts().classes]
    kind = [('bbox_x1', 'i4'), ('class', 'i4'), ('fname', object)]
    (folder / 'devkit').mkdir(parents=True)
    savemat(folder / 'devkit' / 'cars_meta.mat', {'class_names': np.array(names, object)})
    lists = {'cars_train': 'devkit/cars_train_annos.mat', 'cars_test': 'cars_test_annos_withlabels.mat'}
    for half, file in lists.items():
        rows = [(1, c + 1, f'{c + 1:05d}.jpg') for c in range(len(names))]
        for i, (_, _, image) in enumerate(rows):
            _write(folder / half / image, jpegs[i % IMAGES])
        savemat(folder / file, {'annotations': np.array(rows, kind)})
    return []


def _image_folder(cls: Any, root: Path) -> list[Any]:
    for i, jpeg in enumerate(_jpegs()):
        for half in ('train', 'val', 'test'):
            _write(root / half / f'class{i % 4}' / f'{i}.jpg', jpeg)
    return []


def _nothing(cls: Any, root: Path) -> list[Any]:
    return []


# Each writes the files and names the readers of torchvision that hold them against checksums.
_WRITERS: dict[Any, Callable[[Any, Path], list[Any]]] = {
    CIFAR10: _cifar,
    CIFAR100: _cifar,
    CUB200: _cub200,
    Digits: _nothing,  # comes with scikit-learn
    FGVCAircraft: _fgvc_aircraft,
    ImageFolder: _image_folder,
    ImageNet: _imagenet,
    StanfordCars: _stanford_cars,
    stl10.STL10: _stl10,
    tiny_imagenet.TinyImageNet: _tiny_imagenet,
}


@contextmanager
def _accepting(reader: Any, root: Path) -> Iterator[None]:
    """The checksums of the files under `root` in place of those that the reader knows."""
    own = {name: vars(reader).get(name) for name in ('train_list', 'test_list', 'meta')}
    folder = root / reader.base_folder
    for half in ('train_list', 'test_list'):
        setattr(reader, half, [[file, _md5(folder / file)] for file, *_ in getattr(reader, half)])
    if hasattr(reader, 'meta'):
        reader.meta = {**reader.meta, 'md5': _md5(folder / reader.meta['filename'])}
    try:
        yield
    finally:
        for name, value in own.items():
            if value is not None:
                setattr(reader, name, value)
            elif name in vars(reader):  # inherited before
                delattr(reader, name)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
