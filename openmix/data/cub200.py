"""CUB-200-2011 in its official layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from openmix.data.download import fetch
from openmix.data.image_files import PublishedImages, check_folder, check_present
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.lists import read_lines
from openmix.errors import InputError, brief
from openmix.registry import DATASETS

URL = 'https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz'
MD5 = '97eceeb196236b17998738112f37df78'
FOLDER = 'CUB_200_2011'
_REMEDY = 'run python tools/prepare_dataset.py CUB200 --root {root}'


def read_table(path: Path) -> dict[str, str]:
    """Read one of the text files, with lines 'number value', as a dict.

    Raises:
        InputError: the file is missing, or a line is malformed or comes twice.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines('CUB200', path, _REMEDY.format(root=path.parents[1])), 1):
        key, _, value = line.partition(' ')
        if not value or key in table:
            raise InputError(f'CUB200: {path}:{number}: expected a new number and a value, got {brief(line)}')
        table[key] = value.strip()
    return table


def list_images(root: Path, train: bool) -> tuple[list[Path], list[int]]:
    """List the image files of an official half and their labels, in the order of the files' numbers.

    Raises:
        InputError: a list is missing or cut short, or a class or an image is not there.
    """
    check_folder('CUB200', root, FOLDER, _REMEDY.format(root=root))
    folder = root / FOLDER
    label_of = {number: label for label, number in enumerate(read_table(folder / 'classes.txt'))}
    images = read_table(folder / 'images.txt')
    classes = read_table(folder / 'image_class_labels.txt')
    halves = read_table(folder / 'train_test_split.txt')
    for file, table in (('image_class_labels.txt', classes), ('train_test_split.txt', halves)):
        if table.keys() != images.keys():
            raise InputError(
                f'CUB200: {folder / file} lists {len(table)} images and images.txt {len(images)}; '
                f'delete {folder} and {_REMEDY.format(root=root)}'
            )
    for number, half in halves.items():
        if half not in ('0', '1'):
            raise InputError(f"CUB200: image {number} is in the half '{half}' of train_test_split.txt, not in 0 or 1")
    unknown = [number for number in images if classes[number] not in label_of]
    if unknown:
        raise InputError(f"CUB200: image {unknown[0]} is of class '{classes[unknown[0]]}', which is not in classes.txt")
    chosen = [number for number in images if halves[number] == str(int(train))]
    paths = [folder / 'images' / images[number] for number in chosen]
    check_present('CUB200', paths, f'delete {folder} and {_REMEDY.format(root=root)}')
    return paths, [label_of[classes[number]] for number in chosen]


@DATASETS.register_module()
class CUB200(PublishedImages):
    """CUB-200-2011: 5,994 training and 5,794 test images of birds, 200 classes.

    `root` is the folder that holds `CUB_200_2011`; arguments: see `PublishedImages`.
    """

    folder = FOLDER
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 5994, 'test': 5794}

    @classmethod
    def listing(cls, root: Path, train: bool) -> tuple[list[Path], list[int]]:
        return list_images(root, train)

    @classmethod
    def class_names(cls, root: Path) -> Sequence[str]:
        file = root / FOLDER / 'classes.txt'
        if not file.is_file():
            return [str(number) for number in range(1, 201)]
        # '001.Black_footed_Albatross'
        return [name.partition('.')[2].replace('_', ' ') or name for name in read_table(file).values()]

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive."""
        if not (root / FOLDER / 'images.txt').is_file():
            fetch('CUB200', root, URL, MD5)

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write images of 200 classes, alternately training and test images."""
        folder, kinds = root / FOLDER, [f'{number:03d}.Kind_{number}' for number in range(1, 201)]
        images = [f'{kind}/{number}.jpg' for kind in kinds for number in range(2 * images_a_class(len(kinds)))]
        each = len(images) // len(kinds)
        for number, image in enumerate(images):
            write(folder / 'images' / image, jpeg(number))
        write(folder / 'classes.txt', [f'{label + 1} {kind}' for label, kind in enumerate(kinds)])
        for file, value in (
            ('images.txt', images),
            ('image_class_labels.txt', [number // each + 1 for number in range(len(images))]),
            ('train_test_split.txt', [number % 2 for number in range(len(images))]),
        ):
            write(folder / file, [f'{number} {of}' for number, of in enumerate(value, 1)])
