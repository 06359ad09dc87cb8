"""ImageNet-1k (ILSVRC 2012) with one folder per class."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch
from timm.data import ImageNetInfo
from torchvision.datasets import imagenet as archives

from openmix.data.base import OfficialHalves
from openmix.data.download import fetching, unpack, unpack_checked
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, as_size
from openmix.data.image_files import ImageFiles, check_folder
from openmix.data.imitation import images_a_class, jpeg
from openmix.data.listing import Skipped, class_folders, entries, images_below
from openmix.data.lists import read_lines, read_mat
from openmix.data.splits import Subset, source_split
from openmix.errors import InputError, brief, nearest
from openmix.registry import DATASETS, TransformConfig
from openmix.small import IMAGES

PAGE = 'https://image-net.org/challenges/LSVRC/2012/2012-downloads.php'
DEVKIT = 'ILSVRC2012_devkit_t12'
_REMEDY = 'run python tools/prepare_dataset.py ImageNet --root {root}'


@functools.cache
def official_classes() -> dict[str, str]:
    """Return the 1,000 WordNet ids, sorted, each with a readable name."""
    info = ImageNetInfo('imagenet-1k')
    return {wnid: info.label_name_to_description(wnid).partition(',')[0] for wnid in sorted(info.label_names())}


def check_classes(wnids: Sequence[str] | None) -> tuple[str, ...]:
    """Check and return the WordNet ids of a data set's classes; None stands for all 1,000.

    Raises:
        InputError: they are not a list of different ids of ImageNet-1k.
    """
    known = official_classes()
    if wnids is None:
        return tuple(known)
    if isinstance(wnids, str) or not wnids or len(set(wnids)) != len(wnids):
        raise InputError(f'ImageNet: classes must be a list of different WordNet ids, got {brief(wnids)}')
    for wnid in wnids:
        if wnid not in known:
            raise InputError(f"ImageNet: '{wnid}' is no class of ImageNet-1k; {nearest(str(wnid), known)}")
    return tuple(wnids)


def list_images(root: Path, folder: str, wnids: Sequence[str], skipped: Skipped) -> tuple[list[str], list[int]]:
    """List the image files of these classes in `root/folder` and their labels; `skipped` records skipped files.

    Raises:
        InputError: a class folder is missing, empty or not of ImageNet-1k, or the images are not in class folders.
    """
    check_folder('ImageNet', root, folder, _REMEDY.format(root=root))
    half = root / folder
    layout = f'expected {half}/<wnid>/*.JPEG'
    folders = class_folders(half, skipped)
    if not folders and any(entry.name.endswith('.JPEG') for entry in entries(half)):
        raise InputError(
            f'ImageNet: the images of {half} are not in class folders, {layout}; {_REMEDY.format(root=root)}'
        )
    if foreign := sorted(folders.keys() - official_classes().keys()):
        more = f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''
        raise InputError(
            f'ImageNet: {folders[foreign[0]]}{more} is no class of ImageNet-1k; '
            'remove it, or read the images with ImageFolder'
        )
    if absent := [wnid for wnid in wnids if wnid not in folders]:
        raise InputError(
            f'ImageNet: {half} has {len(folders)} of {len(wnids)} class folders, {absent[0]} is missing; '
            f'{_REMEDY.format(root=root)}, or name the classes there are in classes=[...]'
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, wnid in enumerate(wnids):
        files = images_below(folders[wnid], ('.jpeg',), skipped)
        if not files:
            raise InputError(f'ImageNet: no *.JPEG in {half / wnid}; delete {half} and {_REMEDY.format(root=root)}')
        paths += files
        labels += [label] * len(files)
    return paths, labels


def validation_classes(root: Path) -> list[str]:
    """Read the WordNet ids of the 50,000 validation images from the development kit, in the order of their names.

    Raises:
        InputError: the kit is missing or damaged.
    """
    if (root / DEVKIT / 'data' / 'meta.mat').is_file():
        return _read_devkit(root / DEVKIT / 'data')
    file, md5 = archives.ARCHIVE_META['devkit']
    with fetching('ImageNet', root, PAGE, md5, file), TemporaryDirectory() as folder:
        unpack_checked(root / file, Path(folder), md5)
        return _read_devkit(Path(folder) / DEVKIT / 'data')


def _read_devkit(folder: Path) -> list[str]:
    remedy = f'unpack {DEVKIT}.tar.gz there again'
    synsets = read_mat('ImageNet', folder / 'meta.mat', 'synsets', remedy)
    truth = folder / 'ILSVRC2012_validation_ground_truth.txt'
    numbers = ' '.join(read_lines('ImageNet', truth, remedy)).split()
    try:
        wnid_of = {str(int(synset[0])): str(synset[1]) for synset in synsets}
        return [wnid_of[number] for number in numbers]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f'ImageNet: {folder} is damaged; {remedy}') from error


def sort_validation(root: Path) -> None:
    """Move the images of a flat `root/val` into class folders.

    Raises:
        InputError: there are more images than in the development kit.
    """
    wnids, images = validation_classes(root), sorted((root / 'val').glob('ILSVRC2012_val_*.JPEG'))
    # The class follows from the number in the name, counted from 1, so that an interrupted sorting can continue.
    numbers = [int(image.stem.rpartition('_')[2]) for image in images]
    if numbers and numbers[-1] > len(wnids):
        raise InputError(f'ImageNet: {images[-1]} is not among the {len(wnids)} images of the development kit')
    for image, number in zip(images, numbers):
        folder = root / 'val' / wnids[number - 1]
        folder.mkdir(exist_ok=True)
        shutil.move(image, folder / image.name)


@DATASETS.register_module()
class ImageNet(OfficialHalves, ImageFiles):
    """ImageNet-1k: 1,281,167 training images; the 50,000 official validation images are the 'test' split.

    Args:
        root: folder that contains `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`.
        split: 'train', 'val' (held out of the training images, needs `val_fraction`) or 'test'.
        classes: WordNet ids to use, in the order of the labels; None: all, sorted.
        size: one side or (H, W) of the images without a pipeline.
        pipeline, val_fraction, split_seed, subset, skip_corrupt: see `ImageFiles`.

    Raises:
        InputError: a folder is missing or not of ImageNet-1k, or there is no such split.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 1281167, 'test': 50000}

    def __init__(
        self,
        root: str,
        split: str = 'train',
        classes: Sequence[str] | None = None,
        size: int | tuple[int, int] = 224,
        pipeline: Sequence[TransformConfig] | None = None,
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        source = source_split('ImageNet', split, val_fraction)
        facts = self.facts(classes, size)
        skipped, folder = Skipped(), 'train' if source == 'train' else 'val'
        paths, labels = list_images(Path(root), folder, check_classes(classes), skipped)
        targets = torch.tensor(labels, dtype=torch.int64)
        super().__init__(facts, paths, targets, split, pipeline, val_fraction, split_seed, subset, skip_corrupt)
        self.skipped = skipped

    @classmethod
    def facts(cls, classes: Sequence[str] | None = None, size: int | tuple[int, int] = 224, **kwargs: Any) -> Facts:
        names = tuple(official_classes()[wnid] for wnid in check_classes(classes))
        return Facts('ImageNet', names, IMAGENET_MEAN, IMAGENET_STD, as_size(size, 'ImageNet: size'))

    @classmethod
    def corrupted(
        cls, root: str, split: str, pipeline: Sequence[TransformConfig] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the registry dict of ImageNet-C, whose images are cropped already: nothing resizes them again."""
        kept: dict[str, Any] = {
            key: kwargs[key] for key in ('classes', 'size', 'subset', 'split_seed') if key in kwargs
        }
        crops = [step for step in pipeline or () if step['type'] != 'torchvision/Resize']
        return {'type': 'ImageNetC', 'root': root, 'split': split, **kept, **({'pipeline': crops} if crops else {})}

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Unpack the official archives in `root` into class folders; downloading them needs an account."""
        for folder in ('train', 'val'):
            if (root / folder).is_dir():
                continue
            file, md5 = archives.ARCHIVE_META[folder]
            if not (root / file).is_file():
                raise InputError(
                    f'ImageNet: {root / file} is missing; get it (md5 {md5}) from {PAGE}, which asks for an account, '
                    'put it there and repeat the command'
                )
            if folder == 'val':
                validation_classes(root)
            with fetching('ImageNet', root, PAGE, md5, file):
                unpack_checked(root / file, root / folder, md5)
        # One archive per class, including those that an interrupted unpacking left.
        for archive in sorted((root / 'train').glob('*.tar')):
            unpack(archive, archive.with_suffix(''))
            archive.unlink()
        if any((root / 'val').glob('*.JPEG')):
            sort_validation(root)

    @classmethod
    def imitate(cls, root: Path, classes: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Write images of the given classes."""
        wnids = check_classes(classes)
        count = images_a_class(len(wnids))
        for label, wnid in enumerate(wnids):
            halves = [root / half / wnid for half in ('train', 'val')]
            for folder in halves:
                folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (halves[0] / f'{wnid}_{number}.JPEG').write_bytes(jpeg(label + number))
                judged = f'ILSVRC2012_val_{label * count + number + 1:08d}.JPEG'
                (halves[1] / judged).write_bytes(jpeg(label - number - 1))
