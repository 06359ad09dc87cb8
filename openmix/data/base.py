"""The interface of every data set: whole batches of uint8 images, labels and sample ids."""

from __future__ import annotations

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
from openmix.data.splits import Drawn, Subset, choose_rows, drawn_from
from openmix.errors import InputError
from openmix.registry import DATA_SAMPLERS, find

# Of a sample: (3, H, W), (V, 3, H, W) of V views, or a list of V shapes where views differ in size.
Shape = tuple[int, ...] | list[tuple[int, ...]]


class ImageDataset(Dataset):
    """Labelled images that answer a batch at once, so that a loader costs one call a batch.

    All of its layout is told in its own file: what it is (`facts`), the batch it answers (`example`), how to get it
    (`prepare`) and how to do without it (`imitate`).

    Args:
        facts: what the data set is.
        labels: (N,) int64 of the images of this split, or, with `rows`, (M,) of all that it is cut from; -1 for images
            without labels, whose batches have none.
        rows: (N,) int64 of the images of this split among those M; None: it is all of them.
        is_subset: only a part of the split was asked for, so that a run writes down which images those are.

    Attributes:
        folder: what the official archive unpacks to, below `root`.
        OFFICIAL: split -> how many images it has as published; empty where nobody published it.
        skipped: what was passed over where files were listed.
        labelled: False where no image has a label.
        rows: see above.
        is_subset: see above.
    """

    folder: ClassVar[str] = ''
    OFFICIAL: ClassVar[dict[str, int]] = {}

    def __init__(self, facts: Facts, labels: Tensor, rows: Tensor | None = None, is_subset: bool = False) -> None:
        self.rows = torch.arange(len(labels)) if rows is None else rows
        self.known, self.labels, self.skipped = facts, labels[self.rows], Skipped()
        self.labelled, self.is_subset = not bool((self.labels < 0).any()), is_subset

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """The `Facts` of a data set built with the same arguments; no image is read.

        Raises:
            InputError: a sub-class has no such method of its own.
        """
        raise InputError(f'{cls.__name__} needs a class method facts(**kwargs) that returns Facts, see docs/data.md')

    @classmethod
    def served(cls, **kwargs: Any) -> Shape | None:
        """The shape of a sample of a data set built with the same arguments; None: only its files would tell.

        (3, H, W), or (V, 3, H, W) where a pipeline makes V views; a list of V shapes where these differ in size.
        """
        size = cls.facts(**kwargs).size
        return None if size is None else (3, *size)

    @classmethod
    def example(cls, n: int, **kwargs: Any) -> Batch | None:
        """The batch that a data set built with the same arguments answers, on the meta device; no file is read.

        Args:
            n: how many samples.

        Returns:
            `inputs` uint8 (n, 3, H, W), or (n, V, 3, H, W), or a list, of V views, `labels` (n,) int64 and
            `ids` (n,) int64; None where only the files would tell, see `served`.
        """
        shape = cls.served(**kwargs)
        if shape is None:
            return None

        def blank(one: tuple[int, ...]) -> Tensor:
            return torch.empty(n, *one, dtype=torch.uint8, device='meta')

        inputs = [blank(one) for one in shape] if isinstance(shape, list) else blank(shape)
        labels, ids = (torch.empty(n, dtype=torch.int64, device='meta') for _ in range(2))
        return {'inputs': inputs, 'labels': labels, 'ids': ids}

    @classmethod
    def drawn(cls, **kwargs: Any) -> Drawn | None:
        """The split of a data set built with the same arguments; None: only building it would tell."""
        return None

    @classmethod
    def pools(cls, **kwargs: Any) -> dict[str, dict[str, Any]]:
        """The registry dicts of the data sets that one built with the same arguments is made of, by pool; or none."""
        return {}

    @classmethod
    def group(cls, **kwargs: Any) -> int:
        """How many samples are drawn together: a `batch_size` is a multiple of it."""
        return 1

    @classmethod
    def check_loader(cls, loader: Mapping[str, Any], place: str, **kwargs: Any) -> None:
        """Hold a recipe's loader, as a dict, against what a data set built with the same arguments needs.

        Raises:
            InputError: the sampler or the batch size does not do; the line names `place`, the loader's.
        """
        sampler = loader.get('sampler') or {}
        drawn_by = find(DATA_SAMPLERS, sampler['type']) if 'type' in sampler else None
        if isinstance(drawn_by, type) and issubclass(drawn_by, PoolSampler):
            raise InputError(f'{place}.sampler: {cls.__name__} has no pools; take DefaultSampler')

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download, check and unpack what is missing below `root`.

        Raises:
            InputError: it cannot be had; the line says what to get and where to put it. Or nobody publishes it.
        """
        raise InputError(f'{cls.__name__} is not to be had from a publisher; put its files below {root} yourself')

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write a stand-in below `root`, of a few images of every class, as a data set with these arguments reads it.

        It may be called again for the same `root` with other arguments. Helpers: `openmix.data.imitation`.

        Raises:
            InputError: a sub-class has no such method of its own.
        """
        raise InputError(no_stand_in(cls.__name__))

    @classmethod
    def with_classes(cls, cfg: dict[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
        """The registry dict of a data set that numbers its classes as another, whose names these are, does.

        None where it cannot: its own names are fixed, stated, or none of these.
        """
        return None

    @property
    def metainfo(self) -> dict[str, Any]:
        """The facts as mmengine's evaluators and visualisers expect them."""
        return asdict(self.known)

    def images(self, indices: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        """Images of these samples, uint8 (n, 3, H, W), and which of them could be read, (n,) int64 in 0..n-1.

        Args:
            indices: (n,) int64; i + k * len(self) is sample i with the k-th set of its random draws.
        """
        raise NotImplementedError

    @property
    def bytes_held(self) -> int | None:
        """Bytes of the images that are held in memory; None: they are read from files."""
        return None

    def move(self, device: torch.device | str) -> None:
        """Hold the images, and answer batches, on another device.

        Raises:
            InputError: they are read from files.
        """
        raise InputError(f'{type(self).__name__} reads its images from files, and no device can hold them')

    def keep(self, places: Tensor) -> None:
        """Leave out all samples but these, (n,) ascending int64 places."""
        self.rows, self.labels = self.rows[places], self.labels[places]

    def chosen(self) -> dict[str, Tensor]:
        """Rows of the official half, ascending int64, by the name that a run writes them down under; or none.

        Only where a part of a split was asked for.
        """
        return {'subset': self.rows} if self.is_subset else {}

    def set_epoch(self, epoch: int, seed: int = 0) -> None:
        """Renew the per-image draws, a function of (seed, epoch, sample); without any there is nothing to do."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """A batch: `inputs` uint8 (n, 3, H, W), `labels` (n,) int64, `ids` (n,) int64, the places of the samples.

        Indices: see `images`. Where a pipeline makes V views, `inputs` are (n, V, 3, H, W), or a list of V tensors
        (n, 3, H_v, W_v). Without labels there is no such key.
        """
        draws = torch.as_tensor(indices, dtype=torch.int64).to(self.labels.device, non_blocking=True)
        inputs, readable = self.images(draws)
        ids = draws[readable] % len(self)
        return {'inputs': inputs, **({'labels': self.labels[ids]} if self.labelled else {}), 'ids': ids}

    def __getitem__(self, index: int) -> Batch:
        """One sample: `inputs` uint8 (3, H, W), or its views, `labels` and `ids` int64 scalars."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        found = self.__getitems__([index % len(self)])
        return {k: [view[0] for view in value] if isinstance(value, list) else value[0] for k, value in found.items()}


class OfficialHalves:
    """Tells which images a data set takes whose splits are cut from an official training half and a test half.

    Attributes:
        more_splits: what else was published, each whole.
    """

    more_splits: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def drawn(
        cls, root: str = '', split: str = 'train', val_fraction: float = 0.0, split_seed: int | None = 0, **kwargs: Any
    ) -> Drawn | None:
        return drawn_from(cls.__name__, root, split, val_fraction, split_seed, cls.more_splits)


class ArrayDataset(ImageDataset):
    """Images held in memory as one array.

    Args:
        facts: what the data set is.
        images: uint8 (M, 3, H, W), all images of an official half; may be mapped from a file.
        labels: (M,) int64; -1 for images without labels, which count as of one class.
        split, val_fraction, split_seed, subset: which of them to take, see `choose_rows`.
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
        rows = choose_rows(labels.clamp(min=0), split, val_fraction, split_seed, subset)
        super().__init__(facts, labels, rows, subset is not None)
        # Places instead of a copy: a mapped file stays one file, shared by every process.
        self.array, self.places = images, rows

    def images(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        readable = torch.arange(len(indices), device=indices.device)
        return self.array.index_select(0, self.places[indices % len(self)]), readable

    def share(self, other: ArrayDataset) -> None:
        """Hold the images of another data set of the same official half, which were read twice, once."""
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
