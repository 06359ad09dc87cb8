"""Any folder of images: `root/<split>/<class>/*.jpg`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openmix.data.decode import decode_once
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, as_size
from openmix.data.image_files import ImageFiles
from openmix.errors import InputError, brief, nearest
from openmix.registry import DATASETS

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


def list_classes(folder: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted.

    Raises:
        InputError: the folder is missing or has no sub-folder.
    """
    _must_exist(folder)
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.')))
    if not classes:
        raise InputError(f'ImageFolder: {folder} has no class folders; expected {folder}/<class>/*.jpg')
    return classes


def list_images(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Image files below each class folder, sorted, and their labels.

    Raises:
        InputError: a class folder has no images or is not among `classes`, or there is no folder at all.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for name in list_classes(folder):
        if name not in label_of:
            raise InputError(
                f'ImageFolder: {folder / name} is no class of the training split; {nearest(name, classes)}'
            )
        found = sorted(
            Path(parent) / file
            for parent, _, files in os.walk(folder / name, followlinks=True)
            for file in files
            if file.lower().endswith(EXTENSIONS)
        )
        if not found:
            raise InputError(
                f'ImageFolder: no images under {folder / name}; add some ({", ".join(EXTENSIONS)}) or remove it'
            )
        paths += found
        labels += [label_of[name]] * len(found)
    return paths, labels


def _must_exist(folder: Path) -> None:
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        raise InputError(f'ImageFolder: root {folder.parent} is missing; expected {folder}/<class>/*.jpg')
    found = [path.name for path in folder.parent.iterdir() if path.is_dir() and not path.name.startswith('.')]
    raise InputError(f"ImageFolder: {folder.parent} has no split '{folder.name}'; {nearest(folder.name, found)}")


@DATASETS.register_module()
class ImageFolder(ImageFiles):
    """Images in one folder a class, from memory or from their files.

    With `in_memory=True` all images are decoded once to `size` and kept (see `decode_once`): for
    small images that are augmented a batch at a time on the device. Otherwise every image is read
    when asked for and goes through `pipeline` in the loader's workers, see `ImageFiles`.

    Args:
        root: the folder that holds one folder a split.
        split: name of the split's folder; with `val_fraction`, 'train' and 'val' both come from 'train'.
        size: one side or (H, W) of the images; where there is no pipeline they are resized by the
            shorter side and cut at the centre.
        in_memory: decode all images at the start.
        pipeline: transforms of one image that leave it uint8, see `build_pipeline`.
        classes: names of the class folders in the order of the labels; None: those of 'train' (of
            the split's own folder where there is no 'train'), sorted.
        mean, std: of pixels in [0, 1]; default ImageNet's.
        val_fraction: share of each class held out of the training images.
        split_seed: draws the held-out images and the subset.
        subset: take only that many images, balanced over the classes.
        cache: where decoded images are kept: True in the root, a folder, or False nowhere.
        skip_corrupt: leave unreadable images out (from files: out of their batch) instead of stopping.

    Raises:
        InputError: a folder is missing or empty, an image is unreadable, or the pipeline is wrong.
    """

    def __init__(
        self,
        root: str,
        split: str = 'train',
        size: int | tuple[int, int] = 224,
        in_memory: bool = False,
        pipeline: Sequence[dict] | None = None,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        val_fraction: float = 0.0,
        split_seed: int = 0,
        subset: int | None = None,
        cache: bool | str = True,
        skip_corrupt: bool = False,
    ) -> None:
        if in_memory and pipeline:
            raise InputError(
                'ImageFolder: a pipeline needs in_memory=False; augment images in memory by the preprocessor'
            )
        known = self.facts(root, split, size=size, classes=classes, mean=mean, std=std, val_fraction=val_fraction)
        folder = Path(root) / ('train' if val_fraction and split == 'val' else split)
        paths, targets = list_images(folder, known.classes)
        labels = torch.tensor(targets)
        self.array: Tensor | None = None
        if in_memory:
            self.array, kept = decode_once(
                paths, known.size, Path(root), f'image_folder-{folder.name}', cache, skip_corrupt
            )
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
        """Lists the class folders unless `classes` names them."""
        if classes is not None and (
            isinstance(classes, str)
            or len(set(classes)) != len(classes)
            or not all(isinstance(c, str) for c in classes)
        ):
            raise InputError(f'ImageFolder: classes must be a list of different names, got {brief(classes)}')
        if classes is None:
            train = Path(root) / 'train'
            classes = list_classes(train if train.is_dir() else Path(root) / split)
        return Facts(Path(root).name, tuple(classes), tuple(mean), tuple(std), as_size(size, 'ImageFolder: size'))

    def images(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if self.array is not None:
            return self.array.index_select(0, self.rows[indices % len(self)]), torch.arange(len(indices))
        return super().images(indices)
