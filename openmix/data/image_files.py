"""Data sets of image files that are read when a batch needs them."""

from __future__ import annotations

import copy
import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from openmix.data.base import ImageDataset, OfficialHalves, Shape
from openmix.data.decode import as_array, fit, unreadable
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, as_size
from openmix.data.listing import entries
from openmix.data.pipeline import build_pipeline, kept_generators, run_pipeline, run_views, seed_generators
from openmix.data.read import NoneReadable, UnreadableImage, read_image, read_pixels
from openmix.data.resized_crop import steps_on_pixels
from openmix.data.splits import Subset, check_choice, choose_rows, source_split
from openmix.errors import InputError
from openmix.registry import TransformConfig
from openmix.small import IMAGES


def check_folder(name: str, root: Path, folder: str, remedy: str) -> None:
    """Check that a data set's folder is in `root`.

    Args:
        name: name of the data set.
        root: the root in the recipe.
        folder: folder that the official archive unpacks to.
        remedy: end of the error line, which says what to do.

    Raises:
        InputError: it is not; the line lists the content of `root`.
    """
    if (root / folder).is_dir():
        return
    if not root.is_dir():
        raise InputError(f'{name}: root {root} is missing; {remedy}')
    found = [entry.name for entry in entries(root) if not entry.name.startswith('.')]
    some = ', '.join(found[:5]) + (f' and {len(found) - 5} more' if len(found) > 5 else '')
    raise InputError(
        f'{name}: {root} should hold {folder}, found {some or "nothing"}; {remedy}, or set root to the folder that '
        f'holds {folder}'
    )


def check_present(name: str, paths: Sequence[str | Path], remedy: str) -> None:
    """Check that all files that a data set lists exist.

    Args:
        name: name of the data set.
        paths: the files.
        remedy: end of the error line, which says what to do.

    Raises:
        InputError: a file is missing.
    """
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        raise InputError(f'{name}: {missing[0]}{more} of {len(paths)} images missing; {remedy}')


def real_files(files: np.ndarray) -> np.ndarray:
    """Return the real paths of files, (N,) encoded, which two names of one file have in common."""
    folder_of = functools.lru_cache(maxsize=None)(os.path.realpath)
    # The folder of a million files is followed once, not a million times.
    found = [os.path.join(folder_of(os.path.dirname(file)), os.path.basename(file)) for file in files.tolist()]
    return np.array([os.path.realpath(file) if os.path.islink(file) else file for file in found])


class ImageFiles(ImageDataset):
    """Image files that the loader's workers read and transform by a pipeline.

    The pipeline's random draws are a function of (seed, epoch, sample), so they do not depend on the number of
    workers.

    Args:
        facts: see `ImageDataset`.
        paths: the M files of an official half.
        labels: (M,) int64; -1 for images without labels.
        split: 'train' or 'val': divide the half by `val_fraction`, see `choose_rows`; any other name: all of it.
        pipeline: transforms of one image with uint8 output, see `build_pipeline`; None: resize the shorter side to
            the data set's size and crop the centre.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.
        skip_corrupt: leave unreadable images out of their batch; False: raise an error.

    Raises:
        InputError: a number is out of range, or the pipeline is invalid.
    """

    def __init__(
        self,
        facts: Facts,
        paths: Sequence[str | Path],
        labels: Tensor,
        split: str = '',
        pipeline: Sequence[TransformConfig] | None = None,
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        rows = choose_rows(labels, split, val_fraction, split_seed, subset, paths)
        super().__init__(facts, labels, rows, subset)
        # An array, because a million Python objects would be copied into every worker by reference counting.
        self.files = np.array([os.fsencode(paths[i]) for i in self.rows.tolist()])
        self.pipeline = build_pipeline(pipeline) if pipeline else []
        self.on_pixels = steps_on_pixels(self.pipeline)
        self.skip_corrupt = skip_corrupt
        # Seed and epoch in shared memory, because persistent workers must see the next epoch.
        self.drawn_by = torch.zeros(2, dtype=torch.int64).share_memory_()

    @classmethod
    def check_chosen(cls, place: str, **kwargs: Any) -> None:
        check_choice(place, cls.images_published(**kwargs), **kwargs)

    @classmethod
    def served(cls, pipeline: Sequence[dict] | None = None, **kwargs: Any) -> Shape | None:
        """Return the shape of the pipeline's output for blank images of two sizes; None if the outputs differ."""
        if not pipeline:
            return super().served(**kwargs)
        steps, found = build_pipeline(pipeline), []
        with kept_generators():
            for blank in (Image.new('RGB', (1000, 600)), Image.new('RGB', (700, 900))):
                out = run_views(steps, blank)
                found.append([tuple(view.shape) for view in out] if isinstance(out, list) else tuple(out.shape))
        return found[0] if found[0] == found[1] else None

    @property
    def paths(self) -> list[Path]:
        """The files of this split, in the order of the labels."""
        return [self.path(index) for index in range(len(self))]

    def path(self, index: int) -> Path:
        """Return the file of a sample."""
        return Path(os.fsdecode(self.files[index]))

    def keep(self, places: Tensor) -> None:
        super().keep(places)
        self.files = self.files[places.numpy()]

    def unaugmented(self) -> ImageFiles:
        """Return the same images, squeezed and cropped in the centre to the pipeline's size, its first view's.

        As images are evaluated after transfer: 256 x 256 for a crop of 224.
        """
        served = self.images(torch.zeros(1, dtype=torch.int64))[0]
        height, width = (served[0] if isinstance(served, list) else served).shape[-2:]
        larger = [round(side * 256 / 224) for side in (height, width)]
        plain = copy.copy(self)
        crop = [dict(type='torchvision/Resize', size=larger), dict(type='torchvision/CenterCrop', size=(height, width))]
        plain.pipeline, plain.on_pixels = build_pipeline(crop), 0
        return plain

    def set_epoch(self, epoch: int, seed: int = 0) -> None:
        """Set the epoch and the seed of the pipeline's random draws, also in running workers."""
        self.drawn_by.copy_(torch.tensor([seed, epoch]))

    def images(self, indices: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        name = type(self).__name__
        images: list[Tensor | list[Tensor]] = []
        readable: list[int] = []
        with kept_generators():
            for position, index in enumerate(indices.tolist()):
                try:
                    images.append(self._augment(self._read(self.path(index % len(self))), index))
                except UnreadableImage as error:
                    if not self.skip_corrupt:
                        raise
                    warnings.warn(error.left_out(), stacklevel=2)
                    continue
                readable.append(position)
        if not images:
            raise NoneReadable(
                f'{name}: no image of the batch is readable, e.g. {self.path(int(indices[0]) % len(self))}'
            )
        for shapes in map(_sizes, zip(*(image if isinstance(image, list) else [image] for image in images))):
            if len(shapes) == 1:
                continue
            raise InputError(
                f'{name}: the pipeline leaves images of {shapes[0]} and {shapes[-1]} in one batch; '
                "end it with a resize or crop to one size, e.g. dict(type='torchvision/CenterCrop', size=224)"
            )
        # In a worker, `default_collate` stacks directly into shared memory.
        return default_collate(images), torch.tensor(readable)

    def unreadable(self) -> list[Path]:
        """Return the files of this split that are not readable images."""
        return unreadable(self.paths)

    def _read(self, path: Path) -> Image.Image | Tensor:
        """Read an image in the form that the pipeline's first transform takes."""
        return torch.from_numpy(read_pixels(path)).permute(2, 0, 1) if self.on_pixels else read_image(path)

    def _augment(self, image: Image.Image | Tensor, draw: int) -> Tensor | list[Tensor]:
        """Transform the image of index `draw`, see `images`, to uint8 (3, H, W), or to its views."""
        if isinstance(image, Image.Image) and not self.pipeline:
            return torch.from_numpy(as_array(fit(image, self.known.size, str(self.path(draw % len(self))))))
        seed, epoch = self.drawn_by.tolist()
        seed_generators(seed, epoch, draw)
        index = draw % len(self)
        sample = int(self.labels[index]), str(self.path(index))
        if self.on_pixels:
            image = run_pipeline(self.pipeline[: self.on_pixels], image, *sample)
            if self.on_pixels == len(self.pipeline):
                return image.contiguous()
            image = Image.fromarray(image.permute(1, 2, 0).numpy())
        return run_views(self.pipeline[self.on_pixels :], image, *sample)


def _sizes(images: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return sorted({tuple(image.shape[-2:]) for image in images})


class PublishedImages(OfficialHalves, ImageFiles):
    """A published data set of image files: an official training half and a test half.

    Args:
        root: folder that contains the unpacked archives.
        split: 'train', 'val' (held out of the training images, needs `val_fraction`) or 'test'.
        size: one side or (H, W) of the images without a pipeline.
        pipeline, val_fraction, split_seed, subset, skip_corrupt: see `ImageFiles`.

    Raises:
        InputError: a file or folder is missing, or there is no such split.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}

    def __init__(
        self,
        root: str,
        split: str = 'train',
        size: int | tuple[int, int] = 224,
        pipeline: Sequence[TransformConfig] | None = None,
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        source = source_split(type(self).__name__, split, val_fraction)
        paths, labels = self.listing(Path(root), source == 'train')
        facts, targets = self.facts(root, size), torch.tensor(labels, dtype=torch.int64)
        super().__init__(facts, paths, targets, split, pipeline, val_fraction, split_seed, subset, skip_corrupt)

    @classmethod
    def listing(cls, root: Path, train: bool) -> tuple[Sequence[str | Path], Sequence[int]]:
        """List the image files of an official half and their labels, and check that the files exist.

        Raises:
            InputError: a file or folder is missing or damaged.
        """
        raise NotImplementedError

    @classmethod
    def class_names(cls, root: Path) -> Sequence[str]:
        """Return the names of all classes in the order of the labels; numbers if the files are missing."""
        raise NotImplementedError

    @classmethod
    def facts(cls, root: str = '', size: int | tuple[int, int] = 224, **kwargs: Any) -> Facts:
        name = cls.__name__
        classes = tuple(cls.class_names(Path(root)))
        return Facts(name, classes, IMAGENET_MEAN, IMAGENET_STD, as_size(size, f'{name}: size'))

    @classmethod
    def served(
        cls, pipeline: Sequence[dict] | None = None, size: int | tuple[int, int] = 224, **kwargs: Any
    ) -> Shape | None:
        return super().served(pipeline) if pipeline else (3, *as_size(size, f'{cls.__name__}: size'))
