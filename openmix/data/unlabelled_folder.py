"""A data set from any folder of images without labels: `root/<split>/**/*.jpg`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, as_size
from openmix.data.image_folder import EXTENSIONS, ImageFolder, must_exist
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.listing import Skipped, images_below
from openmix.data.splits import Drawn, Subset
from openmix.errors import InputError
from openmix.registry import DATASETS, TransformConfig


@DATASETS.register_module()
class UnlabelledFolder(ImageFolder):
    """The images below a folder, at any depth and without labels; the names of its folders mean nothing.

    For self-supervised learning, and for the unlabelled pool of semi-supervised learning, see `Pools`. It has no
    classes; those of the labelled and the evaluated images hold.

    Args:
        root: folder that contains one folder per split.
        split: name of the split's folder; its images, at any depth, are the data.
        subset: a number of images, a fraction of them, or a file that lists images, see `choose_rows`; labels in the
            list are ignored.
        size, in_memory, pipeline, mean, std, split_seed, cache, skip_corrupt: see `ImageFolder`.

    Raises:
        InputError: the folder is missing or holds no image, an image is unreadable, or the pipeline is invalid.
    """

    cached_as: ClassVar[str] = 'unlabelled_folder'

    def __init__(
        self,
        root: str,
        split: str = 'unlabelled',
        size: int | tuple[int, int] = 224,
        in_memory: bool = False,
        pipeline: Sequence[TransformConfig] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        split_seed: int | None = 0,
        subset: Subset = None,
        cache: bool | str = True,
        skip_corrupt: bool = False,
    ) -> None:
        super().__init__(
            root,
            split,
            size,
            in_memory,
            pipeline,
            mean=mean,
            std=std,
            split_seed=split_seed,
            subset=subset,
            cache=cache,
            skip_corrupt=skip_corrupt,
        )

    @classmethod
    def listing(cls, folder: Path, classes: Sequence[str], skipped: Skipped) -> tuple[list[Path], list[int]]:
        """List the image files below a split's folder, and -1 as the label of each.

        Raises:
            InputError: the folder is missing or holds no image.
        """
        expected = f'expected {folder}/*.jpg, at any depth'
        must_exist(cls.__name__, folder, expected)
        found = images_below(folder, EXTENSIONS, skipped)
        if not found:
            raise InputError(f'{cls.__name__}: no images below {folder}; {expected}')
        return list(map(Path, found)), [-1] * len(found)

    @classmethod
    def facts(
        cls,
        root: str = '',
        split: str = 'unlabelled',
        size: int | tuple[int, int] = 224,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        **kwargs: Any,
    ) -> Facts:
        """Return the facts, without classes."""
        return Facts(Path(root).name, (), tuple(mean), tuple(std), as_size(size, f'{cls.__name__}: size'))

    @classmethod
    def has_labels(cls, **kwargs: Any) -> bool:
        return False

    @classmethod
    def drawn(
        cls,
        root: str = '',
        split: str = 'unlabelled',
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        **kwargs: Any,
    ) -> Drawn:
        return Drawn(os.path.realpath(Path(root) / split), split, split_seed=split_seed, folder=True)

    @classmethod
    def with_classes(cls, cfg: dict[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
        return None

    @classmethod
    def imitate(
        cls, root: Path, split: str = 'unlabelled', classes: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        """Write a few images to the split's folder."""
        for number in range(2 * images_a_class(1)):
            write(root / split / f'{number}.jpg', jpeg(number))
