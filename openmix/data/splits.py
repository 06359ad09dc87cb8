"""Choose the images of a split: pure functions of the labels and a seed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openmix.data.subset_list import rows_in_list
from openmix.errors import InputError, check_number, nearest

SPLITS = ('train', 'val', 'test')
_MOST_SEED = 2**63 - 1
# The setting for a subset of a split, see `choose_rows`.
Subset = int | float | str | Mapping[str, float] | None
_IMBALANCE = 'imbalance'


class Drawn(NamedTuple):
    """The definition of a split, known before any image is read.

    Attributes:
        source: name of the official half or folder that it is taken from.
        split: 'val' takes the held-out images, 'train' the others; any other name all of them.
        val_fraction: fraction of each class that is held out; 0: none, and the split takes all images.
        split_seed: draws the held-out images; None: the run's seed.
        images: names of the images of a split that is a published list, which may overlap with other lists.
        folder: the images are all below `source`, a real path, and no share of them can be held out.
    """

    source: str
    split: str
    val_fraction: float = 0.0
    split_seed: int | None = 0
    images: frozenset[str] = frozenset()
    folder: bool = False

    def __str__(self) -> str:
        if self.images or self.folder:
            return f"split='{self.split}'"
        return f"split='{self.split}', val_fraction={self.val_fraction}, split_seed={self.split_seed}"

    def remedy(self, other: Drawn) -> str:
        """Say how to make two splits share no image, for an error line."""
        if self.folder or other.folder:
            return 'take folders of which none holds the other'
        return 'take lists that share none' if self.images else 'set val_fraction and split_seed alike in both'

    def shares(self, other: Drawn) -> bool:
        """Return true if an image may be in both splits."""
        if self.folder or other.folder:
            return _inside(self.source, other.source) or _inside(other.source, self.source)
        if self.source != other.source:
            return False
        if self.images and other.images:
            return bool(self.images & other.images)
        parts = {
            drawn.split: drawn for drawn in (self, other) if drawn.val_fraction and drawn.split in ('train', 'val')
        }
        if len(parts) < 2:
            return True
        # With the same seed, the images held out by a smaller fraction are among those of a larger one.
        return parts['train'].split_seed != parts['val'].split_seed or (
            parts['train'].val_fraction < parts['val'].val_fraction
        )


def _inside(folder: str, above: str) -> bool:
    return f'{folder}{os.sep}'.startswith(f'{above.rstrip(os.sep)}{os.sep}')


def drawn_from(
    name: str, root: str, split: str, val_fraction: float, split_seed: int | None, more: Sequence[str] = ()
) -> Drawn:
    """Return the definition of a split of a data set with official halves.

    Raises:
        InputError: there is no such split, or a number is out of range.
    """
    check_number('val_fraction', val_fraction, 0.0, 1.0, below=True)
    half = source_split(name, split, val_fraction, more)
    return Drawn(f'{name}: {half} of {os.path.realpath(root)}', split, val_fraction, split_seed)


def rank_in_class(labels: Tensor, order: Tensor | None = None) -> Tensor:
    """Compute (N,) int64 ranks: the number of samples of the same class that come before each sample.

    Args:
        labels: (N,) int64.
        order: (N,) permutation that defines the order; None: the given order.
    """
    order = torch.arange(len(labels)) if order is None else order
    by_class = order[torch.sort(labels[order], stable=True).indices]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(labels)
    ranks[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    return ranks


def every_nth_of_class(labels: Tensor, n: int) -> Tensor:
    """Return (N,) bool, true for every n-th sample of each class."""
    return rank_in_class(labels) % n == n - 1


def holdout(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out the same fraction of every class at random; return the rows kept and held out, ascending int64.

    Args:
        labels: (N,) int64.
        fraction: fraction of every class to hold out, rounded to whole images.
        seed: seed of the draw, which depends only on it and on the labels.

    Raises:
        InputError: the fraction is not in [0, 1).
    """
    check_number('val_fraction', fraction, 0.0, 1.0, below=True)
    check_number('split_seed', seed, 0, _MOST_SEED)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    quota = (torch.bincount(labels) * fraction).round().long()
    held = rank_in_class(labels, order) < quota[labels]
    return torch.nonzero(~held)[:, 0], torch.nonzero(held)[:, 0]


def balanced_subset(labels: Tensor, n: int, seed: int) -> Tensor:
    """Draw (n,) ascending int64 rows by `seed`; class counts differ by at most one unless a class is exhausted.

    With the same seed, a smaller subset is part of a larger one.

    Raises:
        InputError: n is not in [1, N].
    """
    check_number('split_seed', seed, 0, _MOST_SEED)
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= len(labels):
        raise InputError(f'subset must be between 1 and the {len(labels)} images of the split, got {n}')
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    ranks = rank_in_class(labels, order)
    return order[torch.sort(ranks[order], stable=True).indices[:n]].sort().values


def source_split(name: str, split: str, val_fraction: float, more: Sequence[str] = ()) -> str:
    """Return the official half that a split is taken from: 'train' or 'test', or a further published split in `more`.

    Raises:
        InputError: there is no such split, or 'val' without `val_fraction`.
    """
    known = (*SPLITS, *more)
    if split not in known:
        raise InputError(f"{name} has no split '{split}'; {nearest(str(split), known)}")
    if split == 'val' and val_fraction == 0:
        raise InputError(
            f"{name} has no official split 'val'; set val_fraction=0.1 here and in the training data set, "
            "or use split='test'"
        )
    return 'train' if split == 'val' else split


def share_of_classes(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Draw ceil(fraction * n) of the n images of every class by `seed`; return the rows, ascending int64.

    With the same seed, a smaller subset is part of a larger one.

    Raises:
        InputError: the fraction is not in (0, 1].
    """
    check_number('subset', fraction, 0.0, 1.0, above=True)
    check_number('split_seed', seed, 0, _MOST_SEED)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    # 0.55 of 100 is more than 55 in floating point, and the ceiling of that would be 56.
    # The rounding must not turn a tiny share into none.
    quota = torch.tensor([max(min(n, 1), math.ceil(round(fraction * n, 6))) for n in torch.bincount(labels).tolist()])
    return torch.nonzero(rank_in_class(labels, order) < quota[labels])[:, 0]


def long_tailed(labels: Tensor, factor: float, seed: int) -> Tensor:
    """Draw a long-tailed part of the images by `seed`; return the rows, ascending int64.

    Class c of C keeps n factor^(-c / (C - 1)) images, rounded down and at least one, with the n of the largest class,
    as in long-tailed CIFAR (Cui et al., CVPR 2019, section 5.1); a class that has fewer keeps all. The first class is
    the most frequent one. With the same seed, a part with a larger factor lies in one with a smaller factor.

    Args:
        labels: (N,) int64.
        factor: images of the first class for each of the last one; >= 1.
        seed: seed of the draw, which depends only on it and on the labels.

    Raises:
        InputError: the factor is below 1, or there is one class.
    """
    check_number('subset.imbalance', factor, 1.0)
    check_number('split_seed', seed, 0, _MOST_SEED)
    counts = torch.bincount(labels).tolist()
    if len(counts) < 2:
        raise InputError('subset: imbalance is between classes, and these images have one or no labels')
    # 100 ** (-1 / 2) * 50 is less than 5 in floating point, and would be rounded down to 4.
    most, last = max(counts), len(counts) - 1
    quota = torch.tensor([max(1, math.floor(round(most * factor ** (-c / last), 6))) for c in range(len(counts))])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.nonzero(rank_in_class(labels, order) < quota[labels])[:, 0]


def choose_rows(
    labels: Tensor,
    split: str,
    val_fraction: float,
    split_seed: int | None,
    subset: Subset,
    paths: Sequence[str | Path] | None = None,
) -> Tensor:
    """Choose the images of a split from an official half; return their rows (n,), ascending int64.

    Args:
        labels: (N,) int64 labels of all images of the official half; images without labels, -1, are drawn as one class.
        split: 'val' takes the held-out images, 'train' the others; any other name takes all.
        val_fraction: fraction of each class held out of the training half.
        split_seed: seed that draws the held-out images and the subset; None: a run fills in its own seed.
        subset: int: number of images, balanced over the classes; float: fraction of each class, rounded up; str: file
            that lists the images, see `rows_in_list`; {'imbalance': factor}: a long-tailed part, see `long_tailed`;
            None: all images.
        paths: the N image files; None: the images are not files.

    Raises:
        InputError: a number is out of range, the split holds no image, or there is no seed.
    """
    check_number('val_fraction', val_fraction, 0.0, 1.0, below=True)
    known, labels, rows = labels, labels.clamp(min=0), torch.arange(len(labels))
    if split in ('train', 'val') and val_fraction:
        rest, held = holdout(labels, val_fraction, _seed(split_seed))
        rows = held if split == 'val' else rest
    if not len(rows):
        raise InputError(f"split '{split}' holds no image: a share of {val_fraction} of every class rounds to none")
    if subset is None:
        return rows
    if isinstance(subset, str):
        listed = rows_in_list(subset, known, paths)
        held_out = listed[~torch.isin(listed, rows)]
        if len(held_out):
            raise InputError(
                f"subset: {subset} lists {len(held_out)} images that val_fraction leaves out of the split '{split}'"
            )
        return listed
    if isinstance(subset, Mapping):
        return rows[long_tailed(labels[rows], _imbalance('subset', subset), _seed(split_seed))]
    if isinstance(subset, float):
        return rows[share_of_classes(labels[rows], subset, _seed(split_seed))]
    return rows[balanced_subset(labels[rows], subset, _seed(split_seed))]


def check_choice(
    place: str,
    most: int | None,
    val_fraction: float = 0.0,
    split_seed: int | None = 0,
    subset: Subset = None,
    **kwargs: Any,
) -> None:
    """Check the numbers that choose images of a split, before any image is read.

    Args:
        place: dotted key of the data set in a recipe.
        most: published number of images of the half that the split is taken from; None: it is not known.
        val_fraction, split_seed, subset: see `choose_rows`.

    Raises:
        InputError: a number is out of range.
    """
    check_number(f'{place}: val_fraction', val_fraction, 0.0, 1.0, below=True)
    if split_seed is not None:
        check_number(f'{place}: split_seed', split_seed, 0, _MOST_SEED)
    if isinstance(subset, Mapping):
        _imbalance(f'{place}: subset', subset)
    elif isinstance(subset, float):
        check_number(f'{place}: subset', subset, 0.0, 1.0, above=True)
    elif subset is not None and not isinstance(subset, str):
        check_number(f'{place}: subset', subset, 1)
        if most is not None and subset > most:
            raise InputError(f'{place}: subset must be between 1 and {most}, the images of the data set, got {subset}')


def _imbalance(where: str, subset: Mapping[str, float]) -> float:
    if set(subset) != {_IMBALANCE}:
        raise InputError(f'{where} as a dict is dict({_IMBALANCE}=100), the factor between two classes, got {subset!r}')
    check_number(f'{where}.{_IMBALANCE}', subset[_IMBALANCE], 1.0)
    return subset[_IMBALANCE]


def _seed(split_seed: int | None) -> int:
    if split_seed is None:
        raise InputError('split_seed=None is the seed of the run, and the data are read without one: give a number')
    return split_seed
