"""Stanford-Cars in the layout of its archives, its lists read by torchvision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from torchvision.datasets import StanfordCars as Reader
from torchvision.datasets.utils import check_integrity, extract_archive

from openmix.data.download import fetching
from openmix.data.image_files import PublishedImages, check_folder, check_present
from openmix.errors import InputError, from_library
from openmix.registry import DATASETS

FOLDER = 'stanford_cars'
# Where they were published, for their names: the server is gone. File, what it unpacks to, checksum.
PAGE = 'https://ai.stanford.edu/~jkrause/cars/car_dataset.html'
FILES = (
    ('car_devkit.tgz', 'devkit', 'c3b158d763b6e2245038c8ad08e45376'),
    ('cars_train.tgz', 'cars_train', '065e5b463ae28d29e77c1b4b166cfe61'),
    ('cars_test.tgz', 'cars_test', '4ce7ebf6a94d07f1952d94dd34c4d501'),
    ('cars_test_annos_withlabels.mat', 'cars_test_annos_withlabels.mat', 'b0a2b23655a3edd16d84508592a98d10'),
)
_REMEDY = 'run python tools/prepare_dataset.py StanfordCars --root {root}'


@contextmanager
def reading(root: Path, file: Path) -> Iterator[None]:
    """One line for what SciPy and torchvision raise on a damaged list."""
    try:
        yield
    except Exception as error:  # SciPy's reader raises its own and zlib's
        if not from_library(error):
            raise
        unpacked = file.parent if file.parent.name == 'devkit' else file
        raise InputError(
            f'StanfordCars: {file} is damaged; delete {unpacked} and {_REMEDY.format(root=root)}'
        ) from error


def list_images(root: Path, train: bool) -> tuple[list[str], list[int]]:
    """Image files of an official half and their labels.

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
    with reading(root, folder / annotations):
        samples = Reader(str(root), 'train' if train else 'test')._samples
        paths, labels = [path for path, _ in samples], [int(label) for _, label in samples]
    check_present('StanfordCars', paths, f'delete {folder / images} and {_REMEDY.format(root=root)}')
    return paths, labels


@DATASETS.register_module()
class StanfordCars(PublishedImages):
    """Stanford-Cars: 8,144 training and 8,041 test images, 196 classes.

    `root` is the folder that holds `stanford_cars`; arguments: see `PublishedImages`.
    """

    folder = FOLDER
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 8144, 'test': 8041}

    @classmethod
    def listing(cls, root: Path, train: bool) -> tuple[list[str], list[int]]:
        return list_images(root, train)

    @classmethod
    def class_names(cls, root: Path) -> Sequence[str]:
        file = root / FOLDER / 'devkit' / 'cars_meta.mat'
        if not file.is_file():
            return [str(number) for number in range(1, 197)]
        from scipy.io import loadmat  # slow to import, and only this data set needs it

        with reading(root, file):
            return [str(name) for name in loadmat(file, squeeze_me=True)['class_names'].tolist()]

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
                if not check_integrity(str(folder / file), md5):
                    raise RuntimeError('the checksum differs')
                extract_archive(str(folder / file), str(folder))
