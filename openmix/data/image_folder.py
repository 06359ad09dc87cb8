"""Any folder of images: `root/<split>/<class>/*.jpg`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from openmix.data.base import ImageDataset
from openmix.data.decode import as_array, decode_once, fit, read_image, unreadable
from openmix.data.facts import Facts, as_size
from openmix.data.pipeline import build_pipeline, kept_generators, run_pipeline, seed_generators
from openmix.data.splits import choose_rows
from openmix.errors import InputError, nearest
from openmix.registry import DATASETS

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
class ImageFolder(ImageDataset):
    """Images in one folder a class, from memory or from their files.

    With `in_memory=True` all images are decoded once to `size` and kept (see `decode_once`): for
    small images that are augmented a batch at a time on the device. Otherwise every image is read
    when asked for and goes through `pipeline` in the loader's workers; its random draws are a
    function of (seed, epoch, sample), so the number of workers does not matter.

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
        self.rows = choose_rows(labels, split if val_fraction else '', val_fraction, split_seed, subset)
        super().__init__(known, labels[self.rows])
        self.paths = [paths[i] for i in self.rows.tolist()]
        self.pipeline = build_pipeline(pipeline) if pipeline else []
        self.skip_corrupt = skip_corrupt
        # Seed and epoch, shared: workers that outlive an epoch must see the next one.
        self.drawn_by = torch.zeros(2, dtype=torch.int64).share_memory_()

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
        if classes is None:
            train = Path(root) / 'train'
            classes = list_classes(train if train.is_dir() else Path(root) / split)
        return Facts(Path(root).name, tuple(classes), tuple(mean), tuple(std), as_size(size))

    def set_epoch(self, epoch: int, seed: int = 0) -> None:
        """Renew the pipeline's draws; reaches workers that already run."""
        self.drawn_by.copy_(torch.tensor([seed, epoch]))

    def images(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if self.array is not None:
            return self.array.index_select(0, self.rows[indices]), torch.arange(len(indices))
        images: list[Tensor] = []
        readable: list[int] = []
        with kept_generators():
            for position, index in enumerate(indices.tolist()):
                try:
                    image = read_image(self.paths[index])
                except InputError as error:
                    if not self.skip_corrupt:
                        raise
                    warnings.warn(str(error), stacklevel=2)
                    continue
                images.append(self._augment(image, index))
                readable.append(position)
        if not images:
            raise InputError(f'ImageFolder: no image of the batch is readable, e.g. {self.paths[int(indices[0])]}')
        shapes = sorted({tuple(image.shape[1:]) for image in images})
        if len(shapes) > 1:
            raise InputError(
                f'ImageFolder: the pipeline leaves images of {shapes[0]} and {shapes[-1]} in one batch; '
                "end it with a resize or crop to one size, e.g. dict(type='torchvision/CenterCrop', size=224)"
            )
        return torch.stack(images), torch.tensor(readable)

    def unreadable(self) -> list[Path]:
        """The files of this split that are not readable images."""
        return unreadable(self.paths)

    def _augment(self, image: Image.Image, index: int) -> Tensor:
        """uint8 (3, H, W) of sample `index`."""
        if not self.pipeline:
            return torch.from_numpy(as_array(fit(image, self.known.size)).copy())
        seed, epoch = self.drawn_by.tolist()
        seed_generators(seed, epoch, index)
        return run_pipeline(self.pipeline, image, int(self.labels[index]), str(self.paths[index]))
