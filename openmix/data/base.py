"""The interface of every data set: it returns whole batches of uint8 images, labels and sample ids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from openmix.batch import Batch
from openmix.data.facts import Facts
from openmix.data.imitation import no_stand_in
from openmix.data.listing import Skipped
from openmix.data.sampler import PoolSampler
from openmix.data.splits import Drawn, Subset, check_choice, choose_rows, drawn_from
from openmix.errors import InputError
from openmix.registry import DATA_SAMPLERS, find

# The shape of a sample: (3, H, W), (V, 3, H, W) with V views, or a list of V shapes if views differ in size.
Shape = tuple[int, ...] | list[tuple[int, ...]]


class ImageDataset(Dataset):
    """The base class of data sets; a whole batch is read in one call.

    A sub-class defines everything about its data set in one file: its properties (`facts`), an example batch
    (`example`), its download (`prepare`) and a small stand-in for its files (`imitate`).

    Args:
        facts: name, classes, mean, std and image size of the data set.
        labels: (N,) int64 labels of the images of this split, or, with `rows`, (M,) labels of the official half that
            the split is taken from; -1 for images without labels, whose batches have no `labels`.
        rows: (N,) int64 rows of this split's images in the official half; None: all of them.
        subset: what the recipe asks for, see `choose_rows`; a run writes a list of a subset's images.

    Attributes:
        folder: folder below `root` that the official archive unpacks to.
        OFFICIAL: split -> its published number of images; empty for unpublished data.
        skipped: the files that were skipped when the images were listed.
        labelled: False if the images have no labels.
        rows: see above.
        is_subset: the images are a subset of the split; true also after `keep` has removed images.
        listed: a file lists the images.
    """

    folder: ClassVar[str] = ''
    OFFICIAL: ClassVar[dict[str, int]] = {}

    def __init__(self, facts: Facts, labels: Tensor, rows: Tensor | None = None, subset: Subset = None) -> None:
        self.rows = torch.arange(len(labels)) if rows is None else rows
        self.known, self.labels, self.skipped = facts, labels[self.rows], Skipped()
        self.labelled = not bool((self.labels < 0).any())
        self.is_subset, self.listed = subset is not None, isinstance(subset, str)

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the `Facts` of a data set with these arguments; no image is read.

        Raises:
            InputError: the sub-class does not define this method.
        """
        raise InputError(f'{cls.__name__} needs a class method facts(**kwargs) that returns Facts, see docs/data.md')

    @classmethod
    def served(cls, **kwargs: Any) -> Shape | None:
        """Return the shape of a sample of a data set with these arguments; None if the files must be read.

        Returns:
            (3, H, W), or (V, 3, H, W) if the pipeline makes V views, or a list of V shapes if these differ in size.
        """
        size = cls.facts(**kwargs).size
        return None if size is None else (3, *size)

    @classmethod
    def example(cls, n: int, **kwargs: Any) -> Batch | None:
        """Make a batch on the meta device with the shapes of a data set with these arguments; no file is read.

        Args:
            n: number of samples.

        Returns:
            a dict of `inputs` uint8 (n, 3, H, W), or (n, V, 3, H, W) or a list with V views, `labels` (n,) int64
            unless the images have none, and `ids` (n,) int64; None if the files must be read, see `served`.
        """
        shape = cls.served(**kwargs)
        if shape is None:
            return None

        def blank(one: tuple[int, ...]) -> Tensor:
            return torch.empty(n, *one, dtype=torch.uint8, device='meta')

        inputs = [blank(one) for one in shape] if isinstance(shape, list) else blank(shape)
        labels, ids = (torch.empty(n, dtype=torch.int64, device='meta') for _ in range(2))
        return {'inputs': inputs, **({'labels': labels} if cls.has_labels(**kwargs) else {}), 'ids': ids}

    @classmethod
    def has_labels(cls, **kwargs: Any) -> bool:
        """Return whether the images of a data set with these arguments have labels."""
        return True

    @classmethod
    def drawn(cls, **kwargs: Any) -> Drawn | None:
        """Return the split of a data set with these arguments; None if it is unknown before the data set is built."""
        return None

    @classmethod
    def pools(cls, **kwargs: Any) -> dict[str, dict[str, Any]]:
        """Return the registry dicts of the pools of a data set with these arguments, by name; empty without pools."""
        return {}

    @classmethod
    def evaluated_pools(cls, **kwargs: Any) -> dict[str, bool]:
        """Return the pools that are trained on without labels, by name; true for those that must hold evaluated images.

        The others must hold none. Pools that are not named are trained on with their labels, as is a plain data set.
        """
        return {}

    @classmethod
    def group(cls, **kwargs: Any) -> int:
        """Return the number of samples that are drawn together; the `batch_size` must be a multiple of it."""
        return 1

    @classmethod
    def check_chosen(cls, place: str, **kwargs: Any) -> None:
        """Raise an `InputError` that names `place`, a dotted key, if a number that chooses images is out of range."""

    @classmethod
    def check_loader(cls, loader: Mapping[str, Any], place: str, **kwargs: Any) -> None:
        """Check that the sampler and batch size of a loader, as a dict, suit a data set with these arguments.

        Raises:
            InputError: they do not, or see `check_chosen`; the line names `place`, the loader's dotted key.
        """
        cls.check_chosen(f'{place}.dataset', **kwargs)
        sampler = loader.get('sampler') or {}
        drawn_by = find(DATA_SAMPLERS, sampler['type']) if 'type' in sampler else None
        if isinstance(drawn_by, type) and issubclass(drawn_by, PoolSampler):
            raise InputError(f'{place}.sampler: {cls.__name__} has no pools; take DefaultSampler')

    @classmethod
    def images_published(cls, split: Any = 'train', **kwargs: Any) -> int | None:
        """Return the published number of images of the half that a split is taken from; None if it is not known."""
        half = 'train' if split == 'val' and 'val' not in cls.OFFICIAL else split
        return cls.OFFICIAL.get(half) if isinstance(half, str) else None

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download, check and unpack the missing files below `root`.

        Raises:
            InputError: a file cannot be downloaded, and the line names it and the folder to put it in; or the data
                set has no download.
        """
        raise InputError(f'{cls.__name__} is not to be had from a publisher; put its files below {root} yourself')

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write a stand-in below `root`: a few images of every class in the layout that these arguments read.

        It may be called again for the same `root` with other arguments. `openmix.data.imitation` has helpers.

        Raises:
            InputError: the sub-class does not define this method.
        """
        raise InputError(no_stand_in(cls.__name__))

    @classmethod
    def splits_in(cls, root: str) -> Sequence[str]:
        """Return the names of the splits of a data set in the folder `root`, for a command that reads all of them."""
        return ('train', 'test')

    @classmethod
    def with_classes(cls, cfg: dict[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
        """Return the registry dict `cfg` with labels that follow another data set's list of class names.

        None if that is impossible: its classes are fixed, set in `cfg`, or not in the list.
        """
        return None

    @property
    def metainfo(self) -> dict[str, Any]:
        """The facts in the form that mmengine's evaluators and visualisers expect."""
        return asdict(self.known)

    def images(self, indices: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        """Read the images of samples.

        Args:
            indices: (n,) int64; i + k * len(self) is sample i with its k-th set of random draws.

        Returns:
            the images, uint8 (m, 3, H, W), or their views, and the positions (m,) int64 in `indices` of the images
            that could be read.
        """
        raise NotImplementedError

    def images_a_class(self) -> Tensor:
        """Count the images of each class, (C,) int64."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=len(self.known.classes))

    @property
    def bytes_held(self) -> int | None:
        """The size of the images in memory, in bytes; None if they are read from files."""
        return None

    def move(self, device: torch.device | str) -> None:
        """Move the images to a device; batches are then returned on that device.

        Raises:
            InputError: the images are read from files.
        """
        raise InputError(f'{type(self).__name__} reads its images from files, and no device can hold them')

    def keep(self, places: Tensor) -> None:
        """Keep only the samples with these indices, (n,) ascending int64."""
        self.is_subset = self.is_subset or len(places) < len(self)
        self.rows, self.labels = self.rows[places], self.labels[places]

    def unaugmented(self) -> ImageDataset:
        """Return the same samples without random transforms, as for computing features of each once.

        By default the data set itself, which has none of its own.
        """
        return self

    def chosen(self) -> dict[str, Tensor]:
        """Return the rows of a subset in the official half, ascending int64, by the file to write; else nothing."""
        return {'subset': self.rows} if self.is_subset else {}

    def set_epoch(self, epoch: int, seed: int = 0) -> None:
        """Set the epoch and the seed of random draws per image; does nothing for data sets without such draws."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """Read a batch.

        Args:
            indices: see `images`.

        Returns:
            a dict of `inputs` uint8 (n, 3, H, W), or (n, V, 3, H, W) or a list of V tensors (n, 3, H_v, W_v) if the
            pipeline makes V views, `labels` (n,) int64 unless the images have none, and `ids` (n,) int64, the indices
            of the samples.
        """
        draws = torch.as_tensor(indices, dtype=torch.int64).to(self.labels.device, non_blocking=True)
        inputs, readable = self.images(draws)
        ids = draws[readable] % len(self)
        return {'inputs': inputs, **({'labels': self.labels[ids]} if self.labelled else {}), 'ids': ids}

    def __getitem__(self, index: int) -> Batch:
        """Read a sample: `inputs` uint8 (3, H, W), or its views, and `labels` and `ids` as int64 scalars."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        found = self.__getitems__([index % len(self)])
        return {k: [view[0] for view in value] if isinstance(value, list) else value[0] for k, value in found.items()}


class OfficialHalves:
    """A mixin for data sets whose splits are taken from two official halves, the training and the test images.

    Attributes:
        folder: see `ImageDataset`.
        more_splits: names of further published splits.
    """

    folder: ClassVar[str]
    more_splits: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def drawn(
        cls, root: str = '', split: str = 'train', val_fraction: float = 0.0, split_seed: int | None = 0, **kwargs: Any
    ) -> Drawn | None:
        place = os.path.join(root, cls.folder)
        return drawn_from(cls.__name__, place, split, val_fraction, split_seed, cls.more_splits)


class ArrayDataset(ImageDataset):
    """Images held in memory as one array.

    Args:
        facts: see `ImageDataset`.
        images: uint8 (M, 3, H, W), all images of an official half; may be memory-mapped.
        labels: (M,) int64; -1 for images without labels.
        split, val_fraction, split_seed, subset: choose images of the half, see `choose_rows`.
    """

    def __init__(
        self,
        facts: Facts,
        images: Tensor,
        labels: Tensor,
        split: str,
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
    ) -> None:
        rows = choose_rows(labels, split, val_fraction, split_seed, subset)
        super().__init__(facts, labels, rows, subset)
        # Indices instead of a copy, so that processes share a memory-mapped file.
        self.array, self.places = images, rows

    @classmethod
    def check_chosen(cls, place: str, **kwargs: Any) -> None:
        check_choice(place, cls.images_published(**kwargs), **kwargs)

    def images(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        readable = torch.arange(len(indices), device=indices.device)
        return self.array.index_select(0, self.places[indices % len(self)]), readable

    def share(self, other: ArrayDataset) -> None:
        """Use the array of another data set that read the same official half, to save memory."""
        if self.array.shape == other.array.shape:
            self.array = other.array

    @property
    def bytes_held(self) -> int:
        return len(self) * self.array[0].nbytes

    def move(self, device: torch.device | str) -> None:
        self.array = self.array.index_select(0, self.places).to(device)
        self.places = torch.arange(len(self), device=device)
        self.labels = self.labels.to(device)

    def keep(self, places: Tensor) -> None:
        super().keep(places)
        self.places = self.places[places]
