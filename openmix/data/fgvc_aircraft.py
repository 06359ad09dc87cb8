"""FGVC-Aircraft in its official layout, its lists read by torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torchvision.datasets import FGVCAircraft as Reader

from openmix.data.download import fetch
from openmix.data.image_files import PublishedImages, check_folder, check_present
from openmix.errors import InputError
from openmix.registry import DATASETS

URL = 'https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz'
MD5 = 'd4acdd33327262359767eeaa97a4f732'
FOLDER = 'fgvc-aircraft-2013b'
_REMEDY = 'run python tools/prepare_dataset.py FGVCAircraft --root {root}'


def list_images(root: Path, train: bool) -> tuple[list[str], list[int]]:
    """Image files of the official training-and-validation or test half, and their labels by variant.

    Raises:
        InputError: a list is missing or damaged, or an image is not there.
    """
    check_folder('FGVCAircraft', root, FOLDER, _REMEDY.format(root=root))
    folder = root / FOLDER
    again = f'delete {folder} and {_REMEDY.format(root=root)}'
    try:
        half = Reader(str(root), 'trainval' if train else 'test', 'variant')
    except FileNotFoundError as error:
        raise InputError(f'FGVCAircraft: {error.filename} is missing; {again}') from error
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        which = folder / 'data' / f'images_variant_{"trainval" if train else "test"}.txt'
        raise InputError(f'FGVCAircraft: {which} is damaged: {error} is no line or class of it; {again}') from error
    check_present('FGVCAircraft', half._image_files, again)
    return half._image_files, half._labels


@DATASETS.register_module()
class FGVCAircraft(PublishedImages):
    """FGVC-Aircraft by variant: 6,667 training (official training and validation) and 3,333 test images, 100 classes.

    The images keep the banner of 20 pixels at their bottom that names the photographer, as
    torchvision and the published runs leave it.

    `root` is the folder that holds `fgvc-aircraft-2013b`; arguments: see `PublishedImages`.
    """

    folder = FOLDER
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 6667, 'test': 3333}

    @classmethod
    def listing(cls, root: Path, train: bool) -> tuple[list[str], list[int]]:
        return list_images(root, train)

    @classmethod
    def class_names(cls, root: Path) -> Sequence[str]:
        file = root / FOLDER / 'data' / 'variants.txt'
        if not file.is_file():
            return [str(number) for number in range(1, 101)]
        return [line.strip() for line in file.read_text(encoding='utf-8').splitlines()]

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive."""
        if not (root / FOLDER / 'data' / 'variants.txt').is_file():
            fetch('FGVCAircraft', root, URL, MD5)
