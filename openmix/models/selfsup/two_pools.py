"""Contrastive learning on labelled and unlabelled images in one batch."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch

from openmix.batch import LABELLED, UNLABELLED, Batch, pools_of
from openmix.errors import InputError
from openmix.ops.batches import what


@runtime_checkable
class TwoPools(Protocol):
    """A data set of a labelled and an unlabelled pool, with their sizes; `ratio` is that of their shares of a batch."""

    @property
    def sizes(self) -> tuple[int, int]: ...

    ratio: int


class Images(NamedTuple):
    """A plain batch, of one pool or of two.

    Attributes:
        batch: the labels of unlabelled images are -1.
        labelled: number of first images that are the labelled pool; None: there is one pool.
    """

    batch: Batch
    labelled: int | None = None


def as_one_pool(name: str, batch: Batch, labels: str) -> Images:
    """Put the two pools of a batch into one, the labelled images first; a batch of one pool stays as it is.

    Args:
        name: the algorithm, for messages.
        batch: views (N, V, 3, H, W) of the images of every pool.
        labels: see `MoCo`.

    Raises:
        InputError: the images of two pools are not read by these `labels`, or are not alike, or of the labelled ones
            there are fewer than two, or have no labels.
    """
    pools = pools_of(batch)
    if '' in pools:
        return Images(batch)
    if set(pools) != {LABELLED, UNLABELLED}:
        raise InputError(f"{name} reads one pool, or '{LABELLED}' and '{UNLABELLED}', got {', '.join(pools)}")
    if labels != 'given':
        raise InputError(
            f'{name}: labels={labels!r} reads images of one pool, and the batch has two; take train_dataloader.dataset '
            "of one, or labels='given' and a policy whose mixer_losses are of 'labels'"
        )
    own, others = pools[LABELLED], pools[UNLABELLED]
    y, x, more = own.get('labels'), own['inputs'], others['inputs']
    if y is None:
        raise InputError(f"{name}: labels='given', and the images of the pool '{LABELLED}' have none")
    if not all(isinstance(one, torch.Tensor) for one in (x, more)) or x.shape[1:] != more.shape[1:]:
        raise InputError(f'{name}: the images of both pools must be of one size, got {what(x)} and {what(more)}')
    if len(x) < 2:
        raise InputError(
            f'{name}: mixes labelled images with one another, and the batch of a process has {len(x)} of them; raise '
            'train_dataloader.batch_size, or lower ratio of Pools'
        )
    return Images({'inputs': torch.cat([x, more]), 'labels': torch.cat([y, y.new_full((len(more),), -1)])}, len(x))


def check_queue_of_pools(name: str, length: int, data: TwoPools) -> None:
    """Check that the keys of a queue that are of one pool are not more than its images.

    Raises:
        InputError: they are.
    """
    for pool, images, share in zip((LABELLED, UNLABELLED), data.sizes, (1, data.ratio)):
        if (keys := length * share // (1 + data.ratio)) > images:
            raise InputError(
                f"{name}: queue is {length}, of which {keys} keys are of the pool '{pool}', and it has {images} "
                'images, so that the queue would hold keys of an image beside its positive; set model.queue to at most '
                f'{images * (1 + data.ratio) // share}'
            )
