"""A data set of two pools, labelled and unlabelled images, for semi-supervised learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from openmix.batch import LABELLED, UNLABELLED, Batch
from openmix.data.base import ArrayDataset, ImageDataset, Shape
from openmix.data.facts import Facts
from openmix.data.image_files import ImageFiles, real_files
from openmix.data.sampler import PoolSampler
from openmix.errors import InputError, check_number
from openmix.registry import DATA_SAMPLERS, DATASETS, DatasetConfig, find

# Seeds are below 2**32. The seeds of two pools differ by a large number, so that no other run of a table has them.
_SEEDS, _APART = 2**32, 0x9E3779B9


@DATASETS.register_module()
class Pools(ImageDataset):
    """Labelled and unlabelled images for semi-supervised learning, with `ratio` unlabelled images per labelled one.

    A batch is {'labelled': {...}, 'unlabelled': {...}}, one plain batch per pool, whose `ids` are indices in that
    pool. Known labels of unlabelled images are called `true_labels`; metrics may use them, losses must not.

    The loader needs `sampler=dict(type='PoolSampler')` and a `batch_size` of B (1 + ratio) for B labelled images.
    Sample i of the labelled pool has index i, sample j of the unlabelled pool len(labelled) + j; an index plus
    k len(self) is the same sample with its k-th set of random draws.

    Args:
        labelled: registry dict of the labelled images; its `subset` sets their number.
        unlabelled: registry dict of the unlabelled images, of the same classes or of none; None: `labelled` without its
            `subset`.
        ratio: number of unlabelled images per labelled image in a batch.
        keep_labelled: keep images in the unlabelled pool that are also in the labelled one.
        balanced: every class must have labelled images, and if `subset` of `labelled` is a number, equally many.
        transductive: the unlabelled pool holds images of the validation or test data, as in transductive learning;
            False: a recipe in which it does is refused.

    Raises:
        InputError: a pool is no `ImageDataset` or is empty, the pools' classes differ, it is unknown which images
            `keep_labelled=False` must remove, or the labelled images are not `balanced`.
    """

    small: ClassVar[dict[str, Any]] = {'ratio': 1, 'balanced': False}

    def __init__(
        self,
        labelled: DatasetConfig,
        unlabelled: DatasetConfig | None = None,
        ratio: int = 1,
        keep_labelled: bool = True,
        balanced: bool = True,
        transductive: bool = False,
    ) -> None:
        given = self.pools(labelled=labelled, unlabelled=unlabelled, ratio=ratio)
        self.parts: dict[str, ImageDataset] = {name: _build(name, cfg) for name, cfg in given.items()}
        self.ratio = ratio
        own, others = self.parts[LABELLED], self.parts[UNLABELLED]
        if not own.labelled:
            raise InputError('Pools: the images of the labelled pool have no labels')
        if others.known.classes and own.known.classes != others.known.classes:
            raise InputError(f'Pools: {own.known.name} and {others.known.name} have different classes')
        if balanced:
            check_every_class(own, given[LABELLED].get('subset'))
        drawn = [_class_of(cfg).drawn(**_arguments(cfg)) for cfg in given.values()]
        sources = [None if one is None else one.source for one in drawn]
        if isinstance(own, ArrayDataset) and isinstance(others, ArrayDataset) and _same(sources):
            others.share(own)
        if not keep_labelled:
            others.keep(torch.nonzero(~_also_in(others, own, sources))[:, 0])
            if not len(others):
                raise InputError(
                    'Pools: keep_labelled=False leaves no unlabelled image: every one is labelled; give labelled a '
                    'subset'
                )
        super().__init__(own.known, torch.cat([own.labels, others.labels]))
        self.skipped = own.skipped

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of labelled and unlabelled images."""
        return len(self.parts[LABELLED]), len(self.parts[UNLABELLED])

    @classmethod
    def pools(cls, **kwargs: Any) -> dict[str, dict[str, Any]]:
        labelled, unlabelled = kwargs.get('labelled'), kwargs.get('unlabelled')
        check_number('Pools: ratio', kwargs.get('ratio', 1), 1, 2**16)
        if labelled is None:
            raise InputError("Pools needs 'labelled', the registry dict of the labelled images")
        if unlabelled is None:
            unlabelled = {key: value for key, value in labelled.items() if key != 'subset'}
        found = {LABELLED: dict(labelled), UNLABELLED: dict(unlabelled)}
        for name, cfg in found.items():
            part = _class_of(cfg)
            if not isinstance(part, type) or not issubclass(part, ImageDataset) or issubclass(part, Pools):
                raise InputError(f'Pools: {name} must be a data set derived from ImageDataset, got {part.__name__}')
        return found

    @classmethod
    def evaluated_pools(cls, transductive: bool = False, **kwargs: Any) -> dict[str, bool]:
        return {UNLABELLED: transductive}

    @classmethod
    def group(cls, ratio: int = 1, **kwargs: Any) -> int:
        return 1 + ratio

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the facts of the labelled pool."""
        cfg = cls.pools(**kwargs)[LABELLED]
        return _class_of(cfg).facts(**_arguments(cfg))

    @classmethod
    def served(cls, **kwargs: Any) -> Shape | None:
        """Return the shape of a labelled sample."""
        cfg = cls.pools(**kwargs)[LABELLED]
        return _class_of(cfg).served(**_arguments(cfg))

    @classmethod
    def example(cls, n: int, **kwargs: Any) -> Batch | None:
        """Make a batch of n samples, but at least of one labelled image and `ratio` unlabelled ones."""
        groups = max(1, n // cls.group(**kwargs))
        found = {}
        for name, cfg in cls.pools(**kwargs).items():
            count = groups if name == LABELLED else groups * kwargs.get('ratio', 1)
            batch = _class_of(cfg).example(count, **_arguments(cfg))
            if batch is None:
                return None
            found[name] = batch if name == LABELLED else _without_labels(batch)
        return found

    @classmethod
    def check_chosen(cls, place: str, **kwargs: Any) -> None:
        given = cls.pools(**kwargs)
        own = _class_of(given[LABELLED])
        if not own.has_labels(**_arguments(given[LABELLED])):
            raise InputError(
                f'{place}.{LABELLED}: the images of this {own.__name__} have no labels; give it as {UNLABELLED}, and '
                'labelled images here'
            )
        for name, cfg in given.items():
            _class_of(cfg).check_chosen(f'{place}.{name}', **_arguments(cfg))
        count = kwargs['labelled'].get('subset')
        if kwargs.get('balanced', True) and type(count) is int:
            check_divides(f'{place}.{LABELLED}.subset', count, len(cls.facts(**kwargs).classes))

    @classmethod
    def check_loader(cls, loader: Mapping[str, Any], place: str, **kwargs: Any) -> None:
        cls.check_chosen(f'{place}.dataset', **kwargs)
        sampler, group = loader.get('sampler') or {}, cls.group(**kwargs)
        drawn_by = find(DATA_SAMPLERS, sampler['type']) if 'type' in sampler else PoolSampler
        if not isinstance(drawn_by, type) or not issubclass(drawn_by, PoolSampler):
            name = drawn_by.__name__
            raise InputError(f"{place}.sampler: Pools are read by sampler=dict(type='PoolSampler'), not by {name}")
        if (size := loader.get('batch_size', group)) % group:
            raise InputError(
                f'{place}: batch_size is {size}, and Pools with ratio={group - 1} are read in groups of {group}, one '
                f'labelled image and {group - 1} unlabelled: give a multiple, such as {max(1, size // group) * group}'
            )

    @property
    def bytes_held(self) -> int | None:
        held = [part.bytes_held for part in self.parts.values()]
        return None if None in held else sum(bytes_ for bytes_ in held if bytes_ is not None)

    def move(self, device: torch.device | str) -> None:
        for part in self.parts.values():
            part.move(device)

    def chosen(self) -> dict[str, Tensor]:
        return {name: part.rows for name, part in self.parts.items() if part.is_subset}

    def set_epoch(self, epoch: int, seed: int = 0) -> None:
        """Renew the random draws of both pools; each pool gets its own seed in [0, 2**32)."""
        for number, part in enumerate(self.parts.values()):
            part.set_epoch(epoch, (seed + number * _APART) % _SEEDS)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """Read a batch of both pools.

        Args:
            indices: whole groups of one labelled and `ratio` unlabelled samples, as `PoolSampler` draws them.

        Raises:
            InputError: they are no whole groups.
        """
        draws = torch.as_tensor(indices, dtype=torch.int64)
        first, total = self.sizes[0], len(self)
        number, place = draws // total, draws % total
        is_labelled = place < first
        if int(is_labelled.sum()) * (1 + self.ratio) != len(draws):
            raise InputError(
                f'Pools: {len(draws)} samples of which {int(is_labelled.sum())} are labelled are no groups of 1 and '
                f"{self.ratio}; set sampler=dict(type='PoolSampler') and a batch_size that is a multiple of "
                f'{1 + self.ratio}'
            )
        found = {}
        for name, offset, size, chosen in (
            (LABELLED, 0, first, is_labelled),
            (UNLABELLED, first, total - first, ~is_labelled),
        ):
            batch = self.parts[name].__getitems__((place - offset + number * size)[chosen])
            found[name] = batch if name == LABELLED else _without_labels(batch)
        return found

    def __getitem__(self, index: int) -> Batch:
        """Read a sample as its pool returns it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        place, first = index % len(self), self.sizes[0]
        if place < first:
            return self.parts[LABELLED][place]
        return _without_labels(self.parts[UNLABELLED][place - first])


def check_divides(place: str, count: int, classes: int) -> None:
    """Check that a number of labelled images gives every class equally many, at least one.

    Raises:
        InputError: it does not; the line names `place`.
    """
    if count % classes:
        less = count // classes * classes
        fits = f'{less} or {less + classes}' if less else f'{classes}'
        raise InputError(
            f'{place}: {count} labelled images are not equally many of each of the {classes} classes; take {fits}, or '
            'balanced=False in Pools'
        )


def check_every_class(labelled: ImageDataset, subset: Any) -> None:
    """Check that every class has labelled images, and if `subset` is a number of images, equally many.

    Raises:
        InputError: a class has none, or has fewer images than it should give.
    """
    classes = labelled.known.classes
    counts = labelled.images_a_class()
    if type(subset) is int:
        check_divides('Pools: subset of labelled', subset, len(classes))
        wanted = subset // len(classes)
    else:
        wanted = 1
    fewest = int(counts.argmin())
    if counts[fewest] < wanted:
        count = int(counts[fewest])
        has = f'has {count or "no"} labelled image{"s" if count > 1 else ""}'
        raise InputError(
            f"Pools: the class '{classes[fewest]}' {has}, and {'it' if wanted == 1 else 'each'} needs {wanted}; "
            'take fewer of each class or other images, or balanced=False'
        )


def _build(name: str, cfg: dict[str, Any]) -> ImageDataset:
    try:
        return DATASETS.build(cfg)
    except InputError as error:
        raise InputError(f'{name}: {error}') from error


def _class_of(cfg: Mapping[str, Any]) -> Any:
    return find(DATASETS, cfg.get('type'))


def _arguments(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cfg.items() if key != 'type'}


def _without_labels(batch: Batch) -> Batch:
    return {('true_labels' if key == 'labels' else key): value for key, value in batch.items()}


def _same(sources: Sequence[str | None]) -> bool:
    return None not in sources and len(set(sources)) == 1


def _also_in(one: ImageDataset, other: ImageDataset, sources: Sequence[str | None]) -> Tensor:
    """Return (N,) bool, true for the samples of `one` that are also in `other`.

    Args:
        sources: `Drawn.source` of both; None: unknown.
    """
    if isinstance(one, ImageFiles) and isinstance(other, ImageFiles):
        return torch.from_numpy(np.isin(real_files(one.files), real_files(other.files)))
    # Two classes may read the same files and number the images differently. So may two data sets of one class if one of
    # them skips unreadable images.
    sizes = {len(data.array) for data in (one, other) if isinstance(data, ArrayDataset)}
    numbered_alike = type(one) is type(other) and (len(sizes) < 2 or not _same(sources))
    if None in sources or not numbered_alike:
        raise InputError(
            f'Pools: keep_labelled=False cannot tell which images of {type(one).__name__} are labelled; '
            'leave it out, or take both pools from one data set'
        )
    return torch.isin(one.rows, other.rows) if _same(sources) else torch.zeros(len(one), dtype=torch.bool)
