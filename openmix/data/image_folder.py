"""A data set from any folder of images: `root/<split>/<class>/*.jpg`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from openmix.data.base import Shape
from openmix.data.decode import decode_once
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, as_size
from openmix.data.image_files import ImageFiles
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.listing import HIDDEN, Skipped, class_folders, class_name, images_below
from openmix.data.splits import Drawn, Subset
from openmix.errors import InputError, brief, check_number, nearest, printable
from openmix.registry import DATASETS, TransformConfig
from openmix.small import IMAGES

EXTENSIONS = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


def list_classes(folder: Path) -> tuple[str, ...]:
    """List the names of the class folders, sorted as text: '10' comes before '2'.

    Raises:
        InputError: the folder is missing or has no sub-folder, or a class folder is invalid, see `class_folders`.
    """
    return tuple(_classes_in(folder, Skipped()))


def _classes_in(folder: Path, skipped: Skipped) -> dict[str, Path]:
    must_exist('ImageFolder', folder, _expected(folder))
    found = class_folders(folder, skipped)
    if not found:
        raise InputError(f'ImageFolder: {folder} has no class folders; {_expected(folder)}')
    return found


def list_images(
    folder: Path, classes: Sequence[str], skipped: Skipped, complete: bool = True
) -> tuple[list[Path], list[int]]:
    """List the image files below each class folder, sorted, and their labels.

    Args:
        folder: folder that contains one folder per class.
        classes: names of the classes, in the order of the labels.
        skipped: records the skipped files.
        complete: require images in every class folder, as for training.

    Raises:
        InputError: a class folder is not among `classes`, has no images with `complete`, or there are no images.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for name, place in _classes_in(folder, skipped).items():
        if name not in label_of:
            raise InputError(f'ImageFolder: {place} is no class of the training split; {nearest(name, classes)}')
        found = images_below(place, EXTENSIONS, skipped)
        if not found and complete:
            passed_over = skipped.line()
            raise InputError(
                f'ImageFolder: no images under {place}; add some ({", ".join(EXTENSIONS)}) or remove it'
                + (f'; not read: {passed_over}' if passed_over else '')
            )
        paths += map(Path, found)
        labels += [label_of[name]] * len(found)
    if not paths:
        raise InputError(f'ImageFolder: no images under {folder}; {_expected(folder)}')
    return paths, labels


def must_exist(name: str, folder: Path, expected: str) -> None:
    """Check that the folder of a split exists.

    Args:
        name: name of the data set.
        folder: the folder of a split, in the root of the recipe.
        expected: end of the error line if the root is missing.

    Raises:
        InputError: it does not.
    """
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        raise InputError(f'{name}: root {folder.parent} is missing; {expected}')
    found = class_folders(folder.parent, Skipped())
    raise InputError(f"{name}: {folder.parent} has no split '{folder.name}'; {nearest(folder.name, found)}")


def _expected(folder: Path) -> str:
    return f'expected {folder}/<class>/*.jpg'


@DATASETS.register_module()
class ImageFolder(ImageFiles):
    """Images in one folder per class, held in memory or read from their files.

    With `in_memory=True`, all images are decoded once to `size` and kept (see `decode_once`); this suits small images
    that are augmented in batches on the device, which can hold them too. Otherwise the loader's workers read every
    image and transform it by `pipeline`, see `ImageFiles`.

    Args:
        root: folder that contains one folder per split.
        split: name of the split's folder; with `val_fraction`, 'train' and 'val' are both taken from 'train'.
        size: one side or (H, W) of the images; without a pipeline, the shorter side is resized and the centre cropped.
        in_memory: decode all images at the start.
        pipeline: transforms of one image with uint8 output, see `build_pipeline`.
        classes: names of the class folders in the order of the labels; None: the sorted folders of 'train', or of
            the split's own folder if there is no 'train'.
        mean, std: mean and standard deviation of pixels in [0, 1]; default ImageNet's.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.
        cache: folder for decoded images; True: in the root; False: no cache.
        skip_corrupt: leave unreadable images out (if read from files: out of their batch); False: raise an error.

    Raises:
        InputError: a folder is missing or empty, an image is unreadable, or the pipeline is invalid.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    cached_as: ClassVar[str] = 'image_folder'

    def __init__(
        self,
        root: str,
        split: str = 'train',
        size: int | tuple[int, int] = 224,
        in_memory: bool = False,
        pipeline: Sequence[TransformConfig] | None = None,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
        cache: bool | str = True,
        skip_corrupt: bool = False,
    ) -> None:
        if in_memory and pipeline:
            raise InputError(
                f'{type(self).__name__}: a pipeline needs in_memory=False; augment images in memory by the preprocessor'
            )
        known = self.facts(root, split, size=size, classes=classes, mean=mean, std=std, val_fraction=val_fraction)
        folder = _folder_of(root, split, val_fraction)
        skipped = Skipped()
        paths, targets = self.listing(folder, known.classes, skipped)
        labels = torch.tensor(targets)
        _tell(type(self).__name__, folder, known.classes, labels, skipped)
        self.array: Tensor | None = None
        if in_memory:
            name = f'{self.cached_as}-{folder.name}'
            self.array, kept = decode_once(paths, known.size, Path(root), name, cache, skip_corrupt)
            paths, labels = [paths[i] for i in kept.tolist()], labels[kept]
        super().__init__(
            known,
            paths,
            labels,
            split if val_fraction else '',
            pipeline=pipeline,
            val_fraction=val_fraction,
            split_seed=split_seed,
            subset=subset,
            skip_corrupt=skip_corrupt,
        )
        self.skipped, self.places = skipped, self.rows

    @classmethod
    def listing(cls, folder: Path, classes: Sequence[str], skipped: Skipped) -> tuple[list[Path], list[int]]:
        """List the image files of a split's folder and their labels, see `list_images`."""
        return list_images(folder, classes, skipped, complete=folder.name == 'train')

    @classmethod
    def facts(
        cls,
        root: str = '',
        split: str = 'train',
        size: int | tuple[int, int] = 224,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        **kwargs: Any,
    ) -> Facts:
        """Return the facts; the class folders are listed unless `classes` names them."""
        if classes is not None and (
            isinstance(classes, str)
            or len(set(classes)) != len(classes)
            or not all(isinstance(c, str) for c in classes)
        ):
            raise InputError(f'ImageFolder: classes must be a list of different names, got {brief(classes)}')
        if classes is None:
            train = Path(root) / 'train'
            classes = list_classes(train if train.is_dir() else Path(root) / split)
        classes = [class_name(name) for name in classes]
        return Facts(Path(root).name, tuple(classes), tuple(mean), tuple(std), as_size(size, 'ImageFolder: size'))

    @classmethod
    def served(
        cls, pipeline: Sequence[dict] | None = None, size: int | tuple[int, int] = 224, **kwargs: Any
    ) -> Shape | None:
        return super().served(pipeline) if pipeline else (3, *as_size(size, f'{cls.__name__}: size'))

    @classmethod
    def drawn(
        cls, root: str = '', split: str = 'train', val_fraction: float = 0.0, split_seed: int | None = 0, **kwargs: Any
    ) -> Drawn | None:
        check_number('val_fraction', val_fraction, 0.0, 1.0, below=True)
        return Drawn(os.path.realpath(_folder_of(root, split, val_fraction)), split, val_fraction, split_seed)

    @classmethod
    def splits_in(cls, root: str) -> Sequence[str]:
        return list_classes(Path(root))

    @classmethod
    def imitate(cls, root: Path, split: str = 'train', classes: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Write images of the given classes, or of four, to 'train', 'val', 'test' and the split's folder."""
        classes = classes or [f'class{label}' for label in range(4)]
        for half in {'train', 'val', 'test', split}:
            for label, name in enumerate(classes):
                for number in range(images_a_class(len(classes))):
                    write(root / half / name / f'{number}.jpg', jpeg(label + number))

    @classmethod
    def with_classes(cls, cfg: dict[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
        own = set(cls.facts(**{key: value for key, value in cfg.items() if key != 'type'}).classes)
        return {**cfg, 'classes': list(classes)} if cfg.get('classes') is None and own <= set(classes) else None

    def images(self, indices: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        if self.array is None:
            return super().images(indices)
        readable = torch.arange(len(indices), device=indices.device)
        return self.array.index_select(0, self.places[indices % len(self)]), readable

    @property
    def bytes_held(self) -> int | None:
        return None if self.array is None else len(self) * self.array[0].nbytes

    def move(self, device: torch.device | str) -> None:
        if self.array is None:
            super().move(device)
        else:
            self.array = self.array.index_select(0, self.places).to(device)
            self.places, self.labels = torch.arange(len(self), device=device), self.labels.to(device)

    def keep(self, places: Tensor) -> None:
        super().keep(places)
        self.places = self.places[places]


def _folder_of(root: str, split: str, val_fraction: float) -> Path:
    return Path(root) / ('train' if val_fraction and split == 'val' else split)


def _tell(name: str, folder: Path, classes: Sequence[str], labels: Tensor, skipped: Skipped) -> None:
    """Warn of classes without images and of skipped files, except hidden files."""
    counts = torch.bincount(labels[labels >= 0], minlength=len(classes)).tolist()
    empty = [printable(name) for name, count in zip(classes, counts) if not count]
    if empty:
        some = ', '.join(empty[:5]) + (f' and {len(empty) - 5} more' if len(empty) > 5 else '')
        warnings.warn(f'{name}: {printable(folder)} has no images of {len(empty)} of its classes: {some}', stacklevel=3)
    if passed_over := skipped.line(leave_out=[HIDDEN]):
        warnings.warn(f'{name}: {printable(folder)}: not read: {passed_over}', stacklevel=3)
