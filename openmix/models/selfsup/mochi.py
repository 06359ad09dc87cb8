"""MoCHi: MoCo with hard negatives that are mixed in the embedding space (Kalantidis et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.models.selfsup.moco import MoCo
from openmix.registry import MODELS


def hard_dots(
    embedding: Tensor, dots: Tensor, queue: Tensor, hardest: int, of_keys: int, of_query: int
) -> tuple[Tensor, Tensor]:
    """Compute the dot products of each query with negatives that are mixed from its hardest keys, for it alone.

    Hardest are the keys with the largest dot products. A negative of two keys is normalise(a n + (1 - a) m), with a
    uniform in [0, 1] and n, m drawn from the hardest (Section 3.3 of the paper). One of the query and a key is
    normalise(b z + (1 - b) n), with b uniform in [0, 0.5]. No gradient flows into a negative.

    The negatives themselves are not made: a dot product with a mixture is a mixture of dot products, divided by the
    length of the mixture. The memory is that of 2 N `of_keys` P numbers, which no backward pass keeps.

    Args:
        embedding: (N, P) unit vectors z.
        dots: (N, Q) of the embeddings with the queue.
        queue: (Q, P) unit vectors.
        hardest: number of keys to draw from, 1 to Q.
        of_keys: S, number of negatives of two keys.
        of_query: T, number of negatives of the query and a key.

    Returns:
        (N, S) and (N, T).
    """
    n = len(dots)
    likeness, rows = dots.topk(hardest, 1)

    def drawn(count: int) -> Tensor:
        return torch.randint(hardest, (n, count), device=dots.device)

    first, second, share = drawn(of_keys), drawn(of_keys), dots.new_empty(n, of_keys).uniform_()
    with torch.no_grad():
        pair = (queue[rows.gather(1, first)] * queue[rows.gather(1, second)]).sum(2).to(dots.dtype)
    mixed = share * likeness.gather(1, first) + (1 - share) * likeness.gather(1, second)
    keys = mixed / _length(share, pair)
    key = likeness.gather(1, drawn(of_query))
    share = dots.new_empty(n, of_query).uniform_(0, 0.5)
    own = (embedding * embedding.detach()).sum(1, keepdim=True).to(dots.dtype)
    return keys, (share * own + (1 - share) * key) / _length(share, key.detach())


def _length(share: Tensor, dot: Tensor) -> Tensor:
    """Return the length of share * a + (1 - share) * b for unit vectors with a dot product; not below 1e-6."""
    square = share**2 + (1 - share) ** 2 + 2 * share * (1 - share) * dot
    return square.clamp(min=1e-12).sqrt()


@MODELS.register_module()
class MoCHi(MoCo):
    """MoCo whose queries also have negatives that are mixed from the hardest keys of the queue, see `hard_dots`.

    They stand beside the keys of the queue in the softmax, from the epoch `warmup_epochs` on, of clean and of mixed
    images. Nothing mixed enters the queue.

    Args:
        hardest: number of keys of the queue that a query's negatives are made of, N in the paper.
        of_keys: number of negatives of two keys, s in the paper.
        of_query: number of negatives of the query and a key, s' in the paper.
        warmup_epochs: first epochs without them.
        kwargs: see `MoCo`.

    Raises:
        InputError: an option is out of range, or the queue has fewer than `hardest` keys; see `MoCo`.
    """

    small = MoCo.small | {'hardest': 4, 'of_keys': 4, 'of_query': 2, 'warmup_epochs': 0}

    def __init__(
        self, hardest: int = 1024, of_keys: int = 1024, of_query: int = 128, warmup_epochs: int = 10, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_number('MoCHi: hardest', hardest, 1)
        check_number('MoCHi: of_keys', of_keys, 0)
        check_number('MoCHi: of_query', of_query, 0)
        check_number('MoCHi: warmup_epochs', warmup_epochs, 0)
        if not of_keys + of_query:
            raise InputError('MoCHi: of_keys and of_query are both 0; take MoCo')
        if hardest > len(self.queue):
            raise InputError(
                f'MoCHi: hardest is {hardest}, and the queue has {len(self.queue)} keys; set model.hardest to at most '
                f'{len(self.queue)}'
            )
        if self.classes is not None and self.classes.queue is not None:
            raise InputError(
                "MoCHi: mixer_losses are of 'queue_of_other_labels', and a negative that is mixed from two keys has "
                "no class; take of='queue', or MoCo"
            )
        self.hardest, self.of_keys, self.of_query, self.warmup_epochs = hardest, of_keys, of_query, warmup_epochs
        # The preflight, which has no epochs, tries the mixed negatives.
        self.active = True

    def dots(self, embedding: Tensor, positives: Tensor) -> tuple[Tensor, Tensor, int]:
        """Compute those of `MoCo.dots`, with the columns of mixed negatives before those of the queue."""
        dots, columns, first = super().dots(embedding, positives)
        if not self.active:
            return dots, columns, first
        keys, queued = dots.tensor_split([dots.shape[1] - len(self.queue)], 1)
        hard = hard_dots(embedding, queued, self.queue, self.hardest, self.of_keys, self.of_query)
        return torch.cat([keys, *hard, queued], 1), columns, first

    def choices(self, n: int) -> int:
        """Return the number of keys that one of a batch of n images is told from, itself and mixed ones among them."""
        return super().choices(n) + (self.of_keys + self.of_query if self.active else 0)

    def before_epoch(self, epoch: int) -> None:
        super().before_epoch(epoch)
        self.active = epoch >= self.warmup_epochs
