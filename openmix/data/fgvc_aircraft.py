"""FGVC-Aircraft in its official layout."""

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

URL = 'https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz'
MD5 = 'd4acdd33327262359767eeaa97a4f732'
FOLDER = 'fgvc-aircraft-2013b'
_REMEDY = 'run python tools/prepare_dataset.py FGVCAircraft --root {root}'


def read_variants(root: Path) -> list[str]:
    """Read the names of the classes, in the order of the labels.

    Raises:
        InputError: the list is missing, damaged or empty, or names a variant twice.
    """
    file, remedy = root / FOLDER / 'data' / 'variants.txt', _again(root)
    variants = [line.strip() for line in read_lines('FGVCAircraft', file, remedy)]
    if not variants or len(set(variants)) != len(variants):
        raise InputError(f'FGVCAircraft: {file} is damaged: it must name every variant once; {remedy}')
    return variants


def list_images(root: Path, train: bool) -> tuple[list[Path], list[int]]:
    """List the image files of the official training-and-validation or test half, and their labels by variant.

    Raises:
        InputError: a list is missing or damaged, or an image is not there.
    """
    check_folder('FGVCAircraft', root, FOLDER, _REMEDY.format(root=root))
    label_of = {variant: label for label, variant in enumerate(read_variants(root))}
    folder = root / FOLDER / 'data'
    file = folder / f'images_variant_{"trainval" if train else "test"}.txt'
    paths: list[Path] = []
    labels: list[int] = []
    for line in read_lines('FGVCAircraft', file, _again(root)):
        image, _, variant = line.strip().partition(' ')
        if variant not in label_of:
            raise InputError(
                f'FGVCAircraft: {file} is damaged: {brief(variant or line)} is no line or class of it; {_again(root)}'
            )
        paths.append(folder / 'images' / f'{image}.jpg')
        labels.append(label_of[variant])
    check_present('FGVCAircraft', paths, _again(root))
    return paths, labels


def _again(root: Path) -> str:
    return f'delete {root / FOLDER} and {_REMEDY.format(root=root)}'


@DATASETS.register_module()
class FGVCAircraft(PublishedImages):
    """FGVC-Aircraft by variant: 6,667 training (official training and validation) and 3,333 test images, 100 classes.

    The images keep the banner of 20 pixels at the bottom that names the photographer, as in
    torchvision and in the published runs.

    `root` is the folder that holds `fgvc-aircraft-2013b`; arguments: see `PublishedImages`.
    """

    folder = FOLDER
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 6667, 'test': 3333}

    @classmethod
    def listing(cls, root: Path, train: bool) -> tuple[list[Path], list[int]]:
        return list_images(root, train)

    @classmethod
    def class_names(cls, root: Path) -> Sequence[str]:
        if not (root / FOLDER / 'data' / 'variants.txt').exists():
            return [str(number) for number in range(1, 101)]
        return read_variants(root)

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive."""
        if not (root / FOLDER / 'data' / 'variants.txt').is_file():
            fetch('FGVCAircraft', root, URL, MD5)

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write images of 100 variants."""
        folder, variants = root / FOLDER / 'data', [f'Variant {number}' for number in range(1, 101)]
        labels = [*range(len(variants))] * images_a_class(len(variants))
        for split in ('trainval', 'test'):
            for number, label in enumerate(labels):
                write(folder / 'images' / f'{split}{number}.jpg', jpeg(label + number))
            lines = [f'{split}{number} {variants[label]}' for number, label in enumerate(labels)]
            write(folder / f'images_variant_{split}.txt', lines)
        write(folder / 'variants.txt', variants)
