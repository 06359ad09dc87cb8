"""Stanford-Cars in the layout of its archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torchvision.datasets.utils import check_integrity

from openmix.data.download import fetching, unpack_checked
from openmix.data.image_files import PublishedImages, check_folder, check_present
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.lists import read_mat
from openmix.errors import InputError, brief
from openmix.registry import DATASETS

FOLDER = 'stanford_cars'
# The server no longer exists, so the page only names the files: (file, its unpacked folder or file, checksum).
PAGE = 'https://ai.stanford.edu/~jkrause/cars/car_dataset.html'
FILES = (
    ('car_devkit.tgz', 'devkit', 'c3b158d763b6e2245038c8ad08e45376'),
    ('cars_train.tgz', 'cars_train', '065e5b463ae28d29e77c1b4b166cfe61'),
    ('cars_test.tgz', 'cars_test', '4ce7ebf6a94d07f1952d94dd34c4d501'),
    ('cars_test_annos_withlabels.mat', 'cars_test_annos_withlabels.mat', 'b0a2b23655a3edd16d84508592a98d10'),
)
_REMEDY = 'run python tools/prepare_dataset.py StanfordCars --root {root}'


def read_names(root: Path) -> list[str]:
    """Read the names of the classes, in the order of the labels.

    Raises:
        InputError: the list is missing or damaged.
    """
    file = root / FOLDER / 'devkit' / 'cars_meta.mat'
    names = read_mat('StanfordCars', file, 'class_names', _remedy(root, file)).tolist()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f'StanfordCars: {file} is damaged: it names no classes; {_remedy(root, file)}')
    return names


def list_images(root: Path, train: bool) -> tuple[list[Path], list[int]]:
    """List the image files of an official half and their labels.

    Raises:
        InputError: a list is missing or damaged, or an image is not there.
    """
    check_folder('StanfordCars', root, FOLDER, _REMEDY.format(root=root))
    folder = root / FOLDER
    annotations, images = 'devkit/cars_train_annos.mat', 'cars_train'
    if not train:
        annotations, images = 'cars_test_annos_withlabels.mat', 'cars_test'
    for name in (annotations, images, 'devkit/cars_meta.mat'):
        if not (folder / name).exists():
            raise InputError(f'StanfordCars: {folder / name} is missing; {_REMEDY.format(root=root)}')
    file, classes = folder / annotations, len(read_names(root))
    rows = read_mat('StanfordCars', file, 'annotations', _remedy(root, file))
    if not {'fname', 'class'} <= set(rows.dtype.names or ()):
        raise InputError(f'StanfordCars: {file} is damaged: it has no fname and class; {_remedy(root, file)}')
    paths: list[Path] = []
    labels: list[int] = []
    for image, number in zip(rows['fname'].tolist(), rows['class'].tolist()):
        if not isinstance(image, str) or not isinstance(number, int) or not 1 <= number <= classes:
            raise InputError(
                f'StanfordCars: {file} is damaged: image {brief(image)} of class {brief(number)}; {_remedy(root, file)}'
            )
        paths.append(folder / images / image)
        labels.append(number - 1)
    check_present('StanfordCars', paths, f'delete {folder / images} and {_REMEDY.format(root=root)}')
    return paths, labels


def _remedy(root: Path, file: Path) -> str:
    unpacked = file.parent if file.parent.name == 'devkit' else file
    return f'delete {unpacked} and {_REMEDY.format(root=root)}'


@DATASETS.register_module()
class StanfordCars(PublishedImages):
    """Stanford-Cars: 8,144 training and 8,041 test images, 196 classes.

    `root` is the folder that holds `stanford_cars`; arguments: see `PublishedImages`.
    """

    folder = FOLDER
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 8144, 'test': 8041}

    @classmethod
    def listing(cls, root: Path, train: bool) -> tuple[list[Path], list[int]]:
        return list_images(root, train)

    @classmethod
    def class_names(cls, root: Path) -> Sequence[str]:
        if not (root / FOLDER / 'devkit' / 'cars_meta.mat').exists():
            return [str(number) for number in range(1, 197)]
        return read_names(root)

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Unpack the archives in `root/stanford_cars`; there is nowhere to download them from."""
        folder = root / FOLDER
        for file, unpacked, md5 in FILES:
            if (folder / unpacked).exists():
                continue
            if not (folder / file).is_file():
                raise InputError(
                    f'StanfordCars: {folder / file} is missing; the server of {PAGE} is gone: get {file} (md5 {md5}) '
                    'from a mirror, put it there and repeat the command'
                )
            with fetching('StanfordCars', folder, PAGE, md5, file):
                if file != unpacked:
                    unpack_checked(folder / file, folder, md5)
                elif not check_integrity(str(folder / file), md5):
                    raise RuntimeError('the checksum differs')

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write images of 196 models."""
        from scipy.io import savemat  # slow to import, and few data sets need it

        folder, names = root / FOLDER, [f'Model {number}' for number in range(1, 197)]
        kind = [('bbox_x1', 'i4'), ('class', 'i4'), ('fname', object)]
        (folder / 'devkit').mkdir(parents=True, exist_ok=True)
        savemat(folder / 'devkit' / 'cars_meta.mat', {'class_names': np.array(names, object)})
        labels = [*range(len(names))] * images_a_class(len(names))
        rows = [(1, label + 1, f'{number:05d}.jpg') for number, label in enumerate(labels, 1)]
        lists = {'cars_train': 'devkit/cars_train_annos.mat', 'cars_test': 'cars_test_annos_withlabels.mat'}
        for half, file in lists.items():
            for number, (_, _, image) in enumerate(rows):
                write(folder / half / image, jpeg(number))
            savemat(folder / file, {'annotations': np.array(rows, kind)})
