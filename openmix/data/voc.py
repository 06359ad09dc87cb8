"""Pascal VOC in its official layout, and other data sets in its format."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torchvision.datasets.voc import DATASET_YEAR_DICT

from openmix.data.box_files import BoxFiles, Listed
from openmix.data.download import fetch
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts
from openmix.data.image_files import check_folder
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.listing import entries
from openmix.data.lists import read_lines
from openmix.data.splits import Drawn, Subset
from openmix.data.voc_annotation import read_annotation
from openmix.errors import InputError, brief, nearest
from openmix.registry import DATASETS, TransformConfig
from openmix.small import IMAGES

CLASSES = (
    *('aeroplane', 'bicycle', 'bird', 'boat', 'bottle'),
    *('bus', 'car', 'cat', 'chair', 'cow'),
    *('diningtable', 'dog', 'horse', 'motorbike', 'person'),
    *('pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
)
# The images of a split, as pairs of a year and a list of that year.
Lists = str | Sequence[Sequence[str]]
_SPLITS = {'train': (('2007', 'trainval'), ('2012', 'trainval')), 'test': (('2007', 'test'),)}
_FOLDER = 'VOCdevkit'
# Year, a list in the archive, and the archive's key in torchvision.
_ARCHIVES = (('2007', 'trainval', '2007'), ('2007', 'test', '2007-test'), ('2012', 'trainval', '2012'))
_REMEDY = 'run python tools/prepare_dataset.py VOC --root {root}'
_USUAL_SIZE = (375, 500)


def list_names(name: str, file: Path, remedy: str) -> list[str]:
    """Read the names of the images in a list of `ImageSets/Main`.

    Raises:
        InputError: the file is missing, holds no name, or has a line that is not one name or names an image twice.
    """
    names: dict[str, int] = {}
    for number, line in enumerate(read_lines(name, file, remedy), 1):
        if not (words := line.split()):
            continue
        if len(words) > 1 or words[0] in names or '/' in words[0]:
            again = f', the image of line {names[words[0]]} again' if words[0] in names else ''
            raise InputError(f'{name}: {file}:{number}: expected the name of an image, got {brief(line)}{again}')
        names[words[0]] = number
    if not names:
        raise InputError(f'{name}: {file} lists no image; {remedy}')
    return list(names)


def list_files(name: str, folder: Path, file: str, remedy: str) -> list[Listed]:
    """List the images of a list, `ImageSets/Main/<file>.txt`, with their annotations.

    Raises:
        InputError: see `list_names`; or a folder is missing, or two images have one name.
    """
    names = list_names(name, folder / 'ImageSets' / 'Main' / f'{file}.txt', remedy)
    images: dict[str, str] = {}
    for entry in entries(folder / 'JPEGImages'):
        stem = os.path.splitext(entry.name)[0]
        if stem in images and not entry.name.startswith('.'):
            raise InputError(f'{name}: {entry.path} and {images[stem]} have one name; remove one of them')
        images[stem] = entry.path
    return [
        Listed(
            Path(images.get(one, folder / 'JPEGImages' / f'{one}.jpg')),
            folder / 'Annotations' / f'{one}.xml',
        )
        for one in names
    ]


def check_pairs(split: Lists) -> tuple[tuple[str, str], ...]:
    """Return the (year, list) pairs of a split of VOC.

    Raises:
        InputError: there is no such split, or it is no list of different pairs of texts.
    """
    if isinstance(split, str):
        if split not in _SPLITS:
            pairs = "or pairs of a year and a list, as [('2007', 'trainval')]"
            raise InputError(f"VOC has no split '{split}'; {nearest(split, _SPLITS)}, {pairs}")
        return _SPLITS[split]
    found = [tuple(pair) if isinstance(pair, (list, tuple)) else (pair,) for pair in split]
    texts = all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in found)
    if not found or not texts or len(set(found)) < len(found):
        raise InputError(f"VOC: split must be different pairs, as [('2007', 'trainval')], got {brief(split)}")
    return tuple((pair[0], pair[1]) for pair in found)


@DATASETS.register_module()
class VOC(BoxFiles):
    """Pascal VOC, 20 classes: images with boxes; 16,551 of 2007 and 2012 to train, 4,952 of 2007 to test.

    Args:
        root: folder that contains `VOCdevkit`.
        split: 'train' is trainval of 2007 and 2012, 'test' is test of 2007; or (year, list) pairs.
        pipeline, bad_boxes, empty, split_seed, subset, skip_corrupt: see `BoxFiles`.

    Raises:
        InputError: a file or folder is missing or damaged, or there is no such split.
    """

    folder = _FOLDER
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 16551, 'test': 4952}
    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}

    def __init__(
        self,
        root: str,
        split: Lists = 'train',
        pipeline: Sequence[TransformConfig] | None = None,
        bad_boxes: str = 'error',
        empty: str = 'keep',
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        remedy = _REMEDY.format(root=root)
        check_folder('VOC', Path(root), _FOLDER, remedy)
        listed = []
        for year, file in check_pairs(split):
            listed += list_files('VOC', _year(root, year), file, remedy)
        super().__init__(self.facts(), listed, pipeline, bad_boxes, empty, split_seed, subset, skip_corrupt)

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return Facts('VOC', CLASSES, IMAGENET_MEAN, IMAGENET_STD, _USUAL_SIZE)

    @classmethod
    def drawn(cls, root: str = '', split: Lists = 'train', split_seed: int | None = 0, **kwargs: Any) -> Drawn | None:
        pairs = check_pairs(split)
        found: set[str] = set()
        for year, file in pairs:
            place = _year(root, year) / 'ImageSets' / 'Main' / f'{file}.txt'
            if not place.is_file():
                return None
            found |= {f'{year}/{name}' for name in list_names('VOC', place, _REMEDY.format(root=root))}
        named = ' + '.join(' '.join(pair) for pair in pairs)
        return Drawn(f'VOC: {os.path.realpath(root)}', named, split_seed=split_seed, images=frozenset(found))

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archives of 2007 and 2012."""
        for year, file, key in _ARCHIVES:
            if not (_year(str(root), year) / 'ImageSets' / 'Main' / f'{file}.txt').is_file():
                fetch('VOC', root, DATASET_YEAR_DICT[key]['url'], DATASET_YEAR_DICT[key]['md5'])

    @classmethod
    def imitate(cls, root: Path, split: Lists = 'train', **kwargs: Any) -> None:
        """Write images of all classes for every list of the split."""
        for number, (year, file) in enumerate(check_pairs(split)):
            _imitate_list(_year(str(root), year), file, CLASSES, f'{file}_{number}')


@DATASETS.register_module()
class VOCFolder(BoxFiles):
    """A data set of one's own in Pascal VOC's format: `JPEGImages`, `Annotations` and `ImageSets/Main` in one folder.

    Args:
        root: folder that contains these three.
        split: name of a list, `ImageSets/Main/<split>.txt`, with the name of an image in each line.
        classes: names of the classes in the order of the labels; None: those of the objects of the split, sorted.
        mean, std: mean and standard deviation of pixels in [0, 1]; default ImageNet's.
        pipeline, bad_boxes, empty, split_seed, subset, skip_corrupt: see `BoxFiles`.

    Raises:
        InputError: a file or folder is missing or damaged, or there is no such split.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}

    def __init__(
        self,
        root: str,
        split: str = 'trainval',
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        pipeline: Sequence[TransformConfig] | None = None,
        bad_boxes: str = 'error',
        empty: str = 'keep',
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        known = self.facts(root, split, classes, mean, std)
        listed = list_files('VOCFolder', Path(root), split, _expected(root, split))
        super().__init__(known, listed, pipeline, bad_boxes, empty, split_seed, subset, skip_corrupt)

    @classmethod
    def facts(
        cls,
        root: str = '',
        split: str = 'trainval',
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        **kwargs: Any,
    ) -> Facts:
        """Return the facts; the annotations of the split are read unless `classes` names the classes."""
        if classes is not None and (
            isinstance(classes, str)
            or not classes
            or len(set(classes)) != len(classes)
            or not all(isinstance(one, str) for one in classes)
        ):
            raise InputError(f'VOCFolder: classes must be a list of different names, got {brief(classes)}')
        if classes is None:
            classes = _named_in(root, split, _changed(root, split))
        return Facts(Path(root).name, tuple(classes), tuple(mean), tuple(std), _USUAL_SIZE)

    @classmethod
    def with_classes(cls, cfg: dict[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
        own = set(cls.facts(**{key: value for key, value in cfg.items() if key != 'type'}).classes)
        return {**cfg, 'classes': list(classes)} if cfg.get('classes') is None and own <= set(classes) else None

    @classmethod
    def drawn(cls, root: str = '', split: str = 'trainval', split_seed: int | None = 0, **kwargs: Any) -> Drawn | None:
        file = Path(root) / 'ImageSets' / 'Main' / f'{split}.txt'
        if not file.is_file():
            return None
        names = frozenset(list_names('VOCFolder', file, _expected(root, split)))
        return Drawn(f'VOCFolder: {os.path.realpath(root)}', split, split_seed=split_seed, images=names)

    @classmethod
    def splits_in(cls, root: str) -> Sequence[str]:
        """Name the lists of a folder; 'train' and 'val' only where no 'trainval' joins them."""
        found = {Path(entry.name).stem for entry in entries(Path(root) / 'ImageSets' / 'Main')}
        return [name for name in sorted(found) if 'trainval' not in found or name not in ('train', 'val')]

    @classmethod
    def imitate(cls, root: Path, split: str = 'trainval', classes: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Write images of the given classes, or of three, for the lists 'train', 'val', 'test' and the split."""
        for file in {'train', 'val', 'trainval', 'test', split}:
            _imitate_list(root, file, classes or ('circle', 'square', 'star'), file)


def _year(root: str, year: str) -> Path:
    return Path(root) / _FOLDER / f'VOC{year}'


def _expected(root: str, split: str) -> str:
    return f'expected {root}/ImageSets/Main/{split}.txt, {root}/Annotations/*.xml and {root}/JPEGImages/*.jpg'


def _changed(root: str, split: str) -> tuple[int, ...]:
    """Return when the list and the folder of annotations were last changed; 0 for what is missing."""
    places = Path(root) / 'ImageSets' / 'Main' / f'{split}.txt', Path(root) / 'Annotations'
    return tuple(place.stat().st_mtime_ns if place.exists() else 0 for place in places)


@functools.lru_cache(maxsize=16)
def _named_in(root: str, split: str, changed: tuple[int, ...]) -> tuple[str, ...]:
    """Return the sorted names of the classes of the objects of a split; asked many times before a run begins."""
    listed = list_files('VOCFolder', Path(root), split, _expected(root, split))
    found = {marked.name for one in listed for marked in read_annotation(one.annotation).objects}
    if not found:
        raise InputError(
            f"VOCFolder: the images of the split '{split}' of {root} have no objects; {_expected(root, split)}"
        )
    return tuple(sorted(found))


def _imitate_list(folder: Path, file: str, classes: Sequence[str], prefix: str) -> None:
    """Write a list with small images, each with an object of one class and every other one with a second object."""
    names = [f'{prefix}_{number:03d}' for number in range(len(classes) * images_a_class(len(classes)))]
    for number, name in enumerate(names):
        objects = [(classes[number % len(classes)], (8, 8, 40, 48))]
        objects += [(classes[(number + 1) % len(classes)], (20, 24, 64, 60))] if number % 2 else []
        write(folder / 'JPEGImages' / f'{name}.jpg', jpeg(number))
        write(folder / 'Annotations' / f'{name}.xml', [_annotation(objects)])
    write(folder / 'ImageSets' / 'Main' / f'{file}.txt', names)


def _annotation(objects: Sequence[tuple[str, tuple[int, int, int, int]]]) -> str:
    """Write the annotation of an image of 64 x 64."""
    corners = ('xmin', 'ymin', 'xmax', 'ymax')
    texts = [
        f'<object><name>{name}</name><difficult>0</difficult><bndbox>'
        + ''.join(f'<{corner}>{value}</{corner}>' for corner, value in zip(corners, box))
        + '</bndbox></object>'
        for name, box in objects
    ]
    return f'<annotation><size><width>64</width><height>64</height></size>{"".join(texts)}</annotation>'
