"""The published images of common corruptions: CIFAR-10-C and CIFAR-100-C as arrays, ImageNet-C as folders.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (ICLR 2019).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from openmix.data.base import ArrayDataset
from openmix.data.cifar import CIFAR10, CIFAR100
from openmix.data.facts import Facts
from openmix.data.image_files import ImageFiles
from openmix.data.imagenet import ImageNet, check_classes, list_images
from openmix.data.imitation import images_a_class, jpeg, pixels, write
from openmix.data.listing import Skipped, class_folders
from openmix.data.splits import Subset
from openmix.errors import InputError, check_choice
from openmix.registry import DATASETS, TransformConfig, find
from openmix.regular_file import open_regular
from openmix.small import IMAGES

# The fifteen of the benchmark, in its order, and four that were published to choose methods on.
CORRUPTIONS = (
    *('gaussian_noise', 'shot_noise', 'impulse_noise'),
    *('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    *('snow', 'frost', 'fog', 'brightness', 'contrast'),
    *('elastic_transform', 'pixelate', 'jpeg_compression'),
)
FURTHER = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
SEVERITIES = (1, 2, 3, 4, 5)
_SIDE_OF_IMAGENET_C = 224


@runtime_checkable
class HasCorrupted(Protocol):
    """A data set class that says by which registry dict corrupted versions of its test images are read."""

    def corrupted(self, root: str, split: str, **kwargs: Any) -> dict[str, Any]: ...


def corrupted_images(cfg: Mapping[str, Any], root: str, kind: str, severity: int) -> dict[str, Any]:
    """Return the registry dict of corrupted versions of a data set's test images, of one kind and severity.

    A class without a method `corrupted` is read from folders `root/kind/severity/class`, as `ImageFolder` reads them.

    Args:
        cfg: registry dict of the clean test images.
        root: folder of the published files.
        kind: one of `CORRUPTIONS` or `FURTHER`.
        severity: from 1 to 5.

    Raises:
        InputError: there is no such kind or severity.
    """
    cls, split = find(DATASETS, cfg['type']), f'{kind}/{severity}'
    check_split('corruptions', split)
    own = {key: value for key, value in cfg.items() if key != 'type'}
    if isinstance(cls, HasCorrupted):
        return cls.corrupted(**{**own, 'root': root, 'split': split})
    facts = cls.facts(**own)
    names = ('pipeline', 'in_memory', 'skip_corrupt', 'subset', 'split_seed')
    kept: dict[str, Any] = {key: own[key] for key in names if key in own}
    if 'pipeline' not in own:
        kept |= {'in_memory': True, 'cache': False}
    said = {'classes': list(facts.classes), 'mean': facts.mean, 'std': facts.std}
    return {'type': 'ImageFolder', 'root': root, 'split': split, 'size': facts.size, **said, **kept}


def check_split(name: str, split: str) -> tuple[str, int]:
    """Read a split such as 'contrast/3': its kind and its severity.

    Raises:
        InputError: it is no kind and severity.
    """
    kind, _, severity = split.partition('/')
    check_choice(f'{name}: the kind of corruption', kind, (*CORRUPTIONS, *FURTHER))
    if severity not in map(str, SEVERITIES):
        raise InputError(f"{name}: a split is a kind and a severity from 1 to 5, such as 'contrast/3', got '{split}'")
    return kind, int(severity)


def read_corrupted(name: str, root: Path, kind: str, severity: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the images (N, 3, 32, 32) uint8 and labels (N,) int64 of one kind and severity from NumPy files.

    Args:
        name: name of the data set, for messages.
        root: folder with `<kind>.npy`, uint8 (5 N, 32, 32, 3) in the order of the severities, and `labels.npy`.
        kind: the kind.
        severity: from 1 to 5.
        classes: number of classes.

    Raises:
        InputError: a file is missing, or holds something else.
    """
    images, labels = (_array(name, root / f'{stem}.npy') for stem in (kind, 'labels'))
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or len(images) % len(SEVERITIES) or not len(images):
        raise InputError(
            f'{name}: {root / kind}.npy must hold uint8 images (5 N, 32, 32, 3), got {images.dtype} {images.shape}'
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
        raise InputError(
            f'{name}: {root}/labels.npy must hold {len(images)} integers, a label for each image of {kind}.npy, '
            f'got {labels.dtype} {labels.shape}'
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f'{name}: {root}/labels.npy has labels that are not in 0 .. {classes - 1}')
    n = len(images) // len(SEVERITIES)
    rows = slice((severity - 1) * n, severity * n)
    return np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)), labels[rows].astype(np.int64)


def _array(name: str, path: Path) -> np.ndarray:
    try:
        open_regular(path, where=f'{name}: {path}').close()
    except InputError as error:
        raise InputError(f'{error}; unpack the published archive there') from error
    try:
        found = np.load(path, mmap_mode='r', allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f'{name}: {path} is no NumPy array: {str(error).splitlines()[0]}') from error
    if not isinstance(found, np.ndarray) or not found.ndim:
        raise InputError(f'{name}: {path} is no NumPy array of images or labels')
    return found


class _CifarC(ArrayDataset):
    """The base class of CIFAR-10-C and CIFAR-100-C.

    Args:
        root: folder with `<kind>.npy` of every kind and `labels.npy`.
        split: kind and severity, such as 'contrast/3'.
        subset, split_seed: see `choose_rows`; they choose the same images as of the clean test images.

    Raises:
        InputError: there is no such split, or see `read_corrupted`.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    FACTS: ClassVar[Facts]
    OFFICIAL: ClassVar[dict[str, int]] = {
        f'{kind}/{severity}': 10000 for kind in (*CORRUPTIONS, *FURTHER) for severity in SEVERITIES
    }

    def __init__(self, root: str, split: str, split_seed: int | None = 0, subset: Subset = None) -> None:
        name = type(self).__name__
        kind, severity = check_split(name, split)
        images, labels = read_corrupted(name, Path(root), kind, severity, len(self.FACTS.classes))
        super().__init__(
            self.FACTS, torch.from_numpy(images), torch.from_numpy(labels), split, split_seed=split_seed, subset=subset
        )

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        return cls.FACTS

    @classmethod
    def splits_in(cls, root: str) -> Sequence[str]:
        kinds = [kind for kind in (*CORRUPTIONS, *FURTHER) if (Path(root) / f'{kind}.npy').exists()]
        if not kinds:
            raise InputError(f'{cls.__name__}: {root} has no {CORRUPTIONS[0]}.npy; unpack the published archive there')
        return [f'{kind}/{severity}' for kind in kinds for severity in SEVERITIES]

    @classmethod
    def imitate(cls, root: Path, split: str = 'contrast/1', **kwargs: Any) -> None:
        """Write the files of the split's kind, with images of every class."""
        kind, _ = check_split(cls.__name__, split)
        labels = np.tile(np.arange(len(cls.FACTS.classes)), images_a_class(len(cls.FACTS.classes)))
        images = pixels(0, len(SEVERITIES) * len(labels), 32, 32, 3)
        for stem, array in ((kind, images), ('labels', np.tile(labels, len(SEVERITIES)))):
            file = io.BytesIO()
            np.save(file, array, allow_pickle=False)
            write(root / f'{stem}.npy', file.getvalue())


@DATASETS.register_module()
class CIFAR10C(_CifarC):
    """CIFAR-10-C: the test images of CIFAR-10 under 19 kinds of corruption. Arguments: see `_CifarC`."""

    FACTS = CIFAR10.FACTS


@DATASETS.register_module()
class CIFAR100C(_CifarC):
    """CIFAR-100-C: the test images of CIFAR-100 under 19 kinds of corruption. Arguments: see `_CifarC`."""

    FACTS = CIFAR100.FACTS


@DATASETS.register_module()
class ImageNetC(ImageFiles):
    """ImageNet-C: the validation images of ImageNet-1k under 19 kinds of corruption, cropped to 224 x 224.

    Args:
        root: folder with `<kind>/<severity>/<wnid>/*.JPEG`.
        split: kind and severity, such as 'contrast/3'.
        classes, size, pipeline, split_seed, subset, skip_corrupt: see `ImageNet`.

    Raises:
        InputError: a folder is missing or not of ImageNet-1k, there is no such split, or the pipeline serves more
            pixels than the images have.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    OFFICIAL: ClassVar[dict[str, int]] = {
        f'{kind}/{severity}': 50000 for kind in (*CORRUPTIONS, *FURTHER) for severity in SEVERITIES
    }

    def __init__(
        self,
        root: str,
        split: str,
        classes: Sequence[str] | None = None,
        size: int | tuple[int, int] = 224,
        pipeline: Sequence[TransformConfig] | None = None,
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        kind, severity = check_split('ImageNetC', split)
        served = self.served(pipeline=pipeline, size=size)
        if isinstance(served, tuple) and max(served[-2:]) > _SIDE_OF_IMAGENET_C:
            raise InputError(
                f'ImageNetC: its images have {_SIDE_OF_IMAGENET_C} pixels a side, and {max(served[-2:])} are asked for'
            )
        if not (Path(root) / kind).is_dir():
            raise InputError(f'ImageNetC: {Path(root) / kind} is missing; unpack the published archives in {root}')
        skipped = Skipped()
        paths, labels = list_images(Path(root) / kind, str(severity), check_classes(classes), skipped)
        targets = torch.tensor(labels, dtype=torch.int64)
        facts = self.facts(classes=classes, size=size)
        super().__init__(facts, paths, targets, split, pipeline, 0.0, split_seed, subset, skip_corrupt)
        self.skipped = skipped

    @classmethod
    def facts(cls, classes: Sequence[str] | None = None, size: int | tuple[int, int] = 224, **kwargs: Any) -> Facts:
        return ImageNet.facts(classes, size)

    @classmethod
    def splits_in(cls, root: str) -> Sequence[str]:
        kinds = [kind for kind in (*CORRUPTIONS, *FURTHER) if (Path(root) / kind).is_dir()]
        return [f'{kind}/{name}' for kind in kinds for name in sorted(class_folders(Path(root) / kind, Skipped()))]

    @classmethod
    def imitate(
        cls, root: Path, split: str = 'contrast/1', classes: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        """Write images of the given classes for the split."""
        for label, wnid in enumerate(check_classes(classes)):
            for number in range(images_a_class(len(check_classes(classes)))):
                write(root / split / wnid / f'{number}.JPEG', jpeg(label + number))
