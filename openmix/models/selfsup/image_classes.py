"""Classes of the images of a contrastive method: those of the data, or the clusters of their own embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.batch import Batch
from openmix.errors import InputError, check_number
from openmix.losses.labels import at_least_float32
from openmix.models.selfsup.cluster_bank import ClusterBank, check_clusters, cluster_cross_entropy
from openmix.ops.gather import gather_rows
from openmix.registry import MODELS, BankConfig

Embed = Callable[[Tensor], Tensor]


class ImageClasses(nn.Module):
    """Tell the classes of images, classify embeddings into them by a linear head, and keep the classes of a queue.

    The head learns from embeddings of clean images of the momentum encoder, without gradient to it; what reads the head
    does not train it.

    Args:
        name: the algorithm, for messages.
        classes: number of classes; with a head.
        width: P, width of an embedding.
        head: whether there is a head.
        queue: length of the queue whose classes are kept; 0: none are.
        bank: the clusters; None: the classes are those of the data.

    Raises:
        InputError: an option is out of range.
    """

    equal_buffers = frozenset({'queue'})
    queue: Tensor | None

    def __init__(
        self, name: str, classes: int, width: int, head: bool, queue: int = 0, bank: ClusterBank | None = None
    ) -> None:
        super().__init__()
        self.name, self.bank = name, bank
        self.head: nn.Linear | None = None
        if head:
            check_number(f'{name}: classes', classes, 2)
            self.head = nn.Linear(width, classes)
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)
        self.register_buffer('queue', torch.full((queue,), -1) if queue else None)

    def read(self, batch: Batch) -> Tensor:
        """Return the classes (N,) int64 of the images of a batch, before a step changes them.

        Raises:
            InputError: the batch has no labels, or no ids, to tell them by.
        """
        if self.bank is None:
            if batch.get('labels') is None:
                raise InputError(
                    f"{self.name}: labels='given', and the images have none; take labelled images, or labels='none'"
                )
            return batch['labels']
        if batch.get('ids') is None:
            raise InputError(f"{self.name}: labels='clusters', and the images have no ids, by which a bank tells them")
        return self.bank.read(batch['ids'])

    def losses(self, embeddings: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute the loss of the head on embeddings (N, P) with classes (N,), 'class_loss'; none without a head.

        That of clusters is weighted by their sizes, see `cluster_cross_entropy`.
        """
        if self.head is None:
            return {}
        logits = at_least_float32(self.head(embeddings.detach()))
        if self.bank is not None:
            return {'class_loss': cluster_cross_entropy(logits, y, self.bank.weights(y))}
        return {'class_loss': F.cross_entropy(logits, y)}

    def update(self, batch: Batch, embeddings: Tensor, step: int) -> dict[str, Tensor]:
        """After the losses of a step, from 0, give the bank the embeddings (N, P); return what to log."""
        if self.bank is None:
            return {}
        changed = self.bank.update(batch['ids'], embeddings)
        self.bank.maintain(step)
        return {'changed_share': changed}

    @torch.no_grad()
    def push(self, y: Tensor, at: Tensor) -> None:
        """Set the classes of the queue at places (n,) to those (N,) of all processes."""
        if self.queue is not None:
            # Not in place, because the backward pass of the losses needs the old classes.
            self.queue = self.queue.index_copy(0, at, gather_rows(y))

    def read_data(self, model: nn.Module, dataset: Any, preprocessor: nn.Module, embed: Embed) -> None:
        """Cluster the embeddings of all images, with the model in evaluation mode, if the classes are clusters."""
        if self.bank is None:
            return
        mode = model.training
        model.eval()
        self.bank.begin(self.name, dataset, preprocessor, embed)
        model.train(mode)

    def check_data(self, dataset: Any) -> None:
        """Check that the images can be clustered, if they are.

        Raises:
            InputError: they cannot.
        """
        if self.bank is not None:
            check_clusters(self.name, dataset, len(self.bank.centroids), self.bank.least)


def classes_of(
    name: str,
    labels: str,
    classes: int | None,
    bank: BankConfig | None,
    targets: frozenset[str],
    width: int,
    queue: int,
) -> ImageClasses | None:
    """Make the classes that options of `MoCo` ask for; None: there are none.

    Args:
        name: the algorithm, for messages.
        labels, classes, bank, width, queue: see `MoCo`.
        targets: those of its policy, see `MixPolicy`.

    Raises:
        InputError: options do not go together, or are out of range.
    """
    if bank is None and labels == 'clusters':
        raise InputError(f"{name}: labels='clusters' needs a bank, such as bank=dict(type='ClusterBank', clusters=200)")
    if bank is not None and labels != 'clusters':
        raise InputError(f'{name}: bank is for clusters, and labels is {labels!r}; leave it out')
    if classes is not None and labels != 'given':
        raise InputError(
            f'{name}: classes is the number of classes of the data, and labels is {labels!r}; leave it out'
        )
    if labels == 'none':
        return None
    kept = queue if 'queue_of_other_labels' in targets else 0
    if bank is not None:
        built = MODELS.build({'width': width, **bank})
        if not isinstance(built, ClusterBank):
            raise InputError(f'{name}: bank: {type(built).__name__} is no ClusterBank')
        return ImageClasses(name, len(built.centroids), width, True, kept, built)
    if 'labels' in targets and classes is None:
        raise InputError(f"{name}: losses of 'labels' need the number of classes; set model.classes")
    return ImageClasses(name, classes or 0, width, 'labels' in targets, kept)
