"""Keys of a momentum encoder, and a queue of them: what contrastive methods with a queue share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.errors import InputError, check_choice, check_number
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.models.classifier import width_of
from openmix.models.selfsup.contrast import projector_of, unit
from openmix.models.selfsup.moco_checks import check_queue, check_queue_of_data
from openmix.models.selfsup.shuffle import Beside, shuffled_keys
from openmix.models.split_batch_norm import SplitBatchNorm, check_parts, split_batch_norm
from openmix.ops.gather import gather_rows
from openmix.ops.precision import full_precision
from openmix.registry import MODELS, ModelConfig, PreprocessorConfig


def dots_with(embedding: Tensor, positives: Tensor, queue: Tensor) -> Tensor:
    """Compute the dot products (N, M + Q) of embeddings (N, P) with keys (M, P) and a queue of keys (Q, P)."""
    with full_precision(embedding):
        return embedding @ torch.cat([positives, queue.to(embedding.dtype)]).T


def pushed(queue: Tensor, position: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Replace the oldest keys of a queue (Q, P) by the keys (N, P) of all processes, in the order of their ranks.

    Returns:
        the queue, the place () of its oldest key, and the places (n,) that the keys have in it.
    """
    keys = gather_rows(keys).to(queue.dtype)
    at = (position + torch.arange(len(keys), device=keys.device)) % len(queue)
    # Not in place, because the backward pass of the losses needs the old keys.
    return queue.index_copy(0, at, keys), (position + len(keys)) % len(queue), at


class KeyQueue(Algorithm):
    """Compute embeddings and keys of images, their dot products with a queue of keys, and move queue and encoder.

    Args:
        backbone, data_preprocessor, width, hidden, hidden_norm, queue, temperature, momentum, bn_splits, shuffle,
            negatives: see `MoCo`.

    Raises:
        InputError: an option is out of range.
    """

    answers = frozenset({'embedding'})
    small = {'queue': 8, 'width': 8, 'bn_splits': 1}
    equal_buffers = frozenset({'queue', 'position'})
    of_training = frozenset({'queue', 'position', 'encoder', 'projector'})
    queue: Tensor
    position: Tensor

    def __init__(
        self,
        backbone: ModelConfig,
        data_preprocessor: PreprocessorConfig | None,
        width: int,
        hidden: int | None,
        hidden_norm: bool,
        queue: int,
        temperature: float,
        momentum: float,
        bn_splits: int,
        shuffle: bool,
        negatives: str,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        name = type(self).__name__
        check_number(f'{name}: width', width, 1)
        check_number(f'{name}: queue', queue, 1)
        check_number(f'{name}: temperature', temperature, 0.0, above=True)
        check_number(f'{name}: momentum', momentum, 0.0, 1.0)
        check_number(f'{name}: bn_splits', bn_splits, 1)
        check_choice(f'{name}: negatives', negatives, ('queue', 'batch'))
        if hidden is not None:
            check_number(f'{name}: hidden', hidden, 1)
        self.temperature, self.momentum, self.bn_splits, self.shuffle = temperature, momentum, bn_splits, shuffle
        self.negatives = negatives
        self.backbone = MODELS.build(backbone)
        self.projector = projector_of(width_of(self.backbone), hidden or width_of(self.backbone), width, hidden_norm)
        if bn_splits > 1:
            split_batch_norm(self.backbone, bn_splits)
            split_batch_norm(self.projector, bn_splits)
        self.normalises = any(isinstance(one, _BatchNorm) for one in self.modules())
        self.encoder = MomentumEncoder(self.backbone, projector=self.projector)
        self.register_buffer('queue', F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer('position', torch.zeros((), dtype=torch.int64))

    def embed(self, features: Tensor) -> Tensor:
        """Compute embeddings (N, P), of any length, of features (N, D) of the momentum encoder."""
        return self.encoder.heads['projector'](features)

    def dots(self, embedding: Tensor, positives: Tensor) -> tuple[Tensor, Tensor, int]:
        """Compute the dot products of embeddings (N, P) with the keys of the batch (M, P) and the queue.

        Returns:
            (N, C + Q) dot products, the columns (M,) int64 of the positives, and the number of first columns that are
            no negatives.
        """
        columns = torch.arange(len(positives), device=positives.device)
        first = len(positives)
        if self.negatives == 'batch':
            columns, first = columns + _rank(positives) * len(positives), 0
            positives = gather_rows(positives)
        return dots_with(embedding, positives, self.queue), columns, first

    def keys(self, x: Tensor) -> Tensor:
        """Compute the keys (N, P), unit vectors, of images (N, 3, H, W)."""
        return unit(self.encoded(x)[0])

    def encoded(self, x: Tensor, site: FeatureSite | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute the embeddings (N, P) that keys have the direction of, and in the same pass features at a site.

        The features are (N, C, h, w); None: no site is given.
        """
        if site is None:
            return self.shuffled(lambda images: self.embed(self.encoder.backbone(images)), x), None
        both = Beside(site, self.encoder.backbone, self.embed)
        return both.parts(self.shuffled(both, x))

    @torch.no_grad()
    def shuffled(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Compute `network(x)`, (N, ...), with the images in another order if keys are shuffled."""
        if not self.shuffle or (self.bn_splits == 1 and get_world_size() == 1):
            return network(x)
        return shuffled_keys(network, x)

    @torch.no_grad()
    def push(self, keys: Tensor) -> Tensor:
        """Replace the oldest keys of the queue by the keys (N, P) of all processes; return their places in it."""
        self.queue, self.position, at = pushed(self.queue, self.position, keys)
        return at

    def check_batch(self, n: int) -> None:
        """Check that a batch of n images of a process fits the queue and batch norm.

        Raises:
            InputError: it does not.
        """
        check_queue(type(self).__name__, len(self.queue), n)
        if self.normalises:
            check_parts(n, self.bn_splits)

    def check_data(self, dataset: Any) -> None:
        check_queue_of_data(type(self).__name__, len(self.queue), len(dataset))

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the features (N, D) of the backbone as `embedding`."""
        return {'embedding': self.backbone(batch['inputs']), 'labels': batch.get('labels'), 'ids': batch.get('ids')}

    def start(self) -> None:
        if self.bn_splits > 1 and not any(isinstance(one, SplitBatchNorm) for one in self.modules()):
            raise InputError(
                f'{type(self).__name__}: bn_splits is {self.bn_splits}, and the network has no batch norm to split; '
                'set bn_splits=1'
            )
        self.encoder.start(self.backbone, projector=self.projector)

    def after_step(self) -> None:
        self.encoder.follow(self.momentum, self.backbone, projector=self.projector)


def _rank(x: Tensor) -> int:
    """Return the rank of this process; 0 on the meta device, where `gather_rows` gives its own rows alone."""
    return 0 if x.is_meta else get_rank()
