"""MoCo v2 (Chen et al., 2020), on clean and on mixed images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from openmix.algorithm import Algorithm, Network
from openmix.batch import Batch
from openmix.errors import InputError, check_choice, check_number
from openmix.losses.info_nce import info_nce
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.mixups.targets import Target
from openmix.models.classifier import build_policy, width_of
from openmix.models.mixing import mixed_features
from openmix.models.preprocessor import ImagePreprocessor
from openmix.models.selfsup.contrast import check_policy, partners_of, projector_of, two_views, unit
from openmix.models.selfsup.key_targets import OF_BOTH_VIEWS, key_targets
from openmix.models.selfsup.moco_checks import check_queue, check_queue_of_data, checked_weights
from openmix.models.selfsup.shuffle import Beside, shuffled_keys
from openmix.models.sites import Sites
from openmix.models.split_batch_norm import SplitBatchNorm, check_parts, split_batch_norm
from openmix.ops.gather import gather_rows
from openmix.ops.precision import full_precision
from openmix.registry import MODELS, ModelConfig, PolicyConfig, PreprocessorConfig


@MODELS.register_module()
class MoCo(Algorithm):
    """Tell the key of another view of an image from a queue of keys of earlier images; the images may be mixed.

    The loss is weights[0] * L(z, k) + weights[1] * L_mix. L is InfoNCE, see `info_nce`: z is the embedding of the query
    view, k that of the key view in the momentum encoder. L_mix is that of a mixed image, whose positives are the keys
    of its two sources, with their label shares (Automatic Mixup, Section 3.1). A positive is never the key of the view
    whose pixels are in the mixed image, unless `views='same'`:

    ======== ============================== ===================================
    views    mixed image                    positives
    ======== ============================== ===================================
    'cross'  query view and query view      key views of both
    'both'   query view and key view        key view, and query view of the partner
    'same'   query view and query view      query views of both: the degenerate form that Figure 2b compares with
    ======== ============================== ===================================

    Keys of clean key views alone enter the queue, after the losses, from all processes in the order of their ranks. The
    momentum encoder runs in training mode, so it is normalised by its batches. It moves after every step of the
    optimiser, which is before the next pass of the keys, as in the released code.

    A learned policy borrows the momentum encoder: its block reads the features there, and is trained by `mixer_losses`
    of 'queue' (infoNCE) and 'keys' (BCE), through the frozen encoder, with pairs and label shares of their own. AMix
    with both losses is AMix-I (Automatic Mixup, Section 3.3).

    Args:
        backbone: registry dict of a module (N, 3, H, W) -> (N, D).
        data_preprocessor: registry dict of the preprocessor; a training batch has two views of every image.
        width: P, width of the embedding.
        hidden: width of the hidden layer of the projector; None: D.
        hidden_norm: batch norm in the hidden layer, as in i-Mix on small images.
        queue: number of keys; a multiple of the images of a batch of all processes, and at most the training images.
        temperature: > 0.
        momentum: of the momentum encoder, the weight of the old value, in [0, 1].
        bn_splits: number of parts of a batch that batch norm treats as batches of their own, see `SplitBatchNorm`.
        shuffle: pass the key views in another order than the query views, over all processes, so that batch norm does
            not tell which key belongs to a query. It has an effect with several processes or `bn_splits` alone.
        policy: registry dict of the policy that mixes; None: only clean images. See `key_targets` for what
            `mixer_losses` of a learned one are of; the mixed keys need `views='both'`.
        views: 'cross', 'both' or 'same'.
        weights: of the losses of clean and of mixed images. One that is 0 is not computed.
        negatives: 'queue'; 'batch': the keys of the other images of the batch, of all processes, too, as in i-Mix.
        partners: 'other': a random permutation in which no image is its own partner; 'permuted': any permutation;
            'reversed': the batch in reverse order, as in Un-Mix.
        labels: 'none': the policy knows no classes; 'given': it knows those of the data, as in Figure 2c. No loss reads
            them.

    Raises:
        InputError: an option is out of range, or the policy needs labels, or something else that is not there, or mixes
            nothing; in `loss`, the batch does not fit queue or batch norm, has other than two views, or no labels where
            they are given.
    """

    answers = frozenset({'embedding'})
    small = {'queue': 8, 'width': 8, 'bn_splits': 1}
    equal_buffers = frozenset({'queue', 'position'})
    of_training = frozenset({'queue', 'position', 'encoder', 'projector', 'policy'})
    queue: Tensor
    position: Tensor

    def __init__(
        self,
        backbone: ModelConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        width: int = 128,
        hidden: int | None = None,
        hidden_norm: bool = False,
        queue: int = 65536,
        temperature: float = 0.2,
        momentum: float = 0.999,
        bn_splits: int = 1,
        shuffle: bool = True,
        policy: PolicyConfig | None = None,
        views: str = 'cross',
        weights: Sequence[float] = (1.0, 1.0),
        negatives: str = 'queue',
        partners: str = 'other',
        labels: str = 'none',
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        check_number('MoCo: width', width, 1)
        check_number('MoCo: queue', queue, 1)
        check_number('MoCo: temperature', temperature, 0.0, above=True)
        check_number('MoCo: momentum', momentum, 0.0, 1.0)
        check_number('MoCo: bn_splits', bn_splits, 1)
        check_choice('MoCo: views', views, ('cross', 'both', 'same'))
        check_choice('MoCo: negatives', negatives, ('queue', 'batch'))
        check_choice('MoCo: partners', partners, ('other', 'permuted', 'reversed'))
        check_choice('MoCo: labels', labels, ('none', 'given'))
        if labels == 'given' and policy is None:
            raise InputError("MoCo: labels='given' is for a policy, and there is none; leave it out")
        if hidden is not None:
            check_number('MoCo: hidden', hidden, 1)
        if negatives == 'batch' and policy is not None and views == 'both':
            raise InputError(
                "MoCo: with views='both' the batch has two keys of every image, so negatives='batch' would count one "
                "of them as a negative of the other; take negatives='queue', or views='cross'"
            )
        self.weights = checked_weights(weights, policy is not None)
        self.temperature, self.momentum, self.bn_splits, self.shuffle = temperature, momentum, bn_splits, shuffle
        self.views, self.negatives, self.partners, self.labels = views, negatives, partners, labels
        self.backbone = MODELS.build(backbone)
        self.projector = projector_of(width_of(self.backbone), hidden or width_of(self.backbone), width, hidden_norm)
        if bn_splits > 1:
            split_batch_norm(self.backbone, bn_splits)
            split_batch_norm(self.projector, bn_splits)
        self.normalises = any(isinstance(one, _BatchNorm) for one in self.modules())
        # Before the hooks of the sites, which a copy would share.
        self.encoder = MomentumEncoder(self.backbone, projector=self.projector)
        self.register_module('policy', None)
        self.policy: MixPolicy | None
        if policy is not None:
            self.policy = build_policy('MoCo', policy)
            offered = {'keys', 'queue'} | (OF_BOTH_VIEWS if views == 'both' else set())
            check_policy('MoCo', self.policy, offered)
            self.policy.attach(self.online(), self.encoder)
        self.sites = Sites(self.backbone, set() if self.policy is None else self.policy.all_sites())
        self.register_buffer('queue', F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer('position', torch.zeros((), dtype=torch.int64))
        if isinstance(self.data_preprocessor, ImagePreprocessor) and self.data_preprocessor.channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        query, key = two_views('MoCo', batch['inputs'])
        self.check_batch(len(query))
        of_key, features = self.encoded(key)
        losses: dict[str, Tensor] = {}
        if self.weights[0]:
            dots, columns, first = self.dots(unit(self.projector(self.backbone(query))), of_key)
            none = Mix.none(len(query), query.device)
            losses['loss'] = self.weights[0] * info_nce(dots, columns, none, self.temperature, first)
            best = dots[:, -len(self.queue) :].amax(1)
            losses['hit_rate'] = (dots.gather(1, columns[:, None])[:, 0] >= best).float().mean()
        if self.policy is not None and self.weights[1]:
            losses |= self.mixed_losses(self.policy, query, key, of_key, self.known_labels(batch), features)
        self.push(of_key)
        # What a network that knows nothing has, beside a loss that begins lower with the random keys of a new queue.
        losses['chance_nats'] = torch.full((), math.log(1 + len(self.queue)), device=query.device)
        return losses

    def mixed_losses(
        self,
        policy: MixPolicy,
        query: Tensor,
        key: Tensor,
        of_key: Tensor,
        y: Tensor | None = None,
        features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted loss of mixed images, 'mixed_loss', and those of a learned policy's mixer.

        Args:
            policy: what mixes them.
            query, key: (N, 3, H, W), two views.
            of_key: (N, P) keys of `key`.
            y: (N,) int64 classes that the policy knows.
            features: (N, C, h, w), those of `key` where a learned policy reads them; None: it reads none of them.
        """
        n, start = len(query), len(query) if self.views == 'both' else 0
        pairs = start + partners_of(self.partners, n, query.device)
        context, positives, others = self.context(query, y), of_key, None
        if self.views == 'same':
            positives = self.keys(query)
        elif self.views == 'both':
            context = self.context(torch.cat([query, key]), None if y is None else torch.cat([y, y]))
            of_query, of_site = self.encoded(query)
            positives, others = torch.cat([of_key, of_query]), torch.cat([of_query, of_key])
            if features is not None and of_site is not None and policy.feature_site is not None:
                context.keep_features(policy.feature_site, self.encoder.backbone, torch.cat([of_site, features]))
        mixed = mixed_features(self.backbone, self.sites, policy, context, pairs)
        dots, columns, first = self.dots(unit(self.projector(mixed.features)), positives)
        losses = {'mixed_loss': self.weights[1] * info_nce(dots, columns, mixed.mix, self.temperature, first)}
        if wanted := mixed.policy.targets:
            queue = Target(lambda z: self.dots(z, positives)[0], columns, {'keys': first})
            context.targets = key_targets(wanted, self.embed, positives, queue, others)
            losses |= mixed.policy.own_losses(context, start + partners_of(self.partners, n, query.device))
        return losses

    def embed(self, features: Tensor) -> Tensor:
        """Compute unit vectors (N, P) of features (N, D) of the momentum encoder."""
        return unit(self.encoder.heads['projector'](features))

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
        with full_precision(embedding):
            return embedding @ torch.cat([positives, self.queue.to(embedding.dtype)]).T, columns, first

    def keys(self, x: Tensor) -> Tensor:
        """Compute the keys (N, P), unit vectors, of images (N, 3, H, W)."""
        return self.shuffled(lambda images: self.embed(self.encoder.backbone(images)), x)

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the keys, and in the same pass the features that a learned policy reads of all views, if it does."""
        site = self.policy.feature_site if self.policy is not None and self.views == 'both' else None
        if site is None:
            return self.keys(x), None
        both = Beside(site, self.encoder.backbone, self.embed)
        return both.parts(self.shuffled(both, x))

    @torch.no_grad()
    def shuffled(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Compute `network(x)`, (N, ...), with the images in another order if keys are shuffled."""
        if not self.shuffle or (self.bn_splits == 1 and get_world_size() == 1):
            return network(x)
        return shuffled_keys(network, x)

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replace the oldest keys of the queue by the keys (N, P) of all processes."""
        keys = gather_rows(keys).to(self.queue.dtype)
        at = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        # Not in place, because the backward pass of the losses needs the old keys.
        self.queue = self.queue.index_copy(0, at, keys)
        self.position = (self.position + len(keys)) % len(self.queue)

    def known_labels(self, batch: Batch) -> Tensor | None:
        """Return the classes (N,) that the policy knows; None: it knows none.

        Raises:
            InputError: they should be the batch's, which has none.
        """
        if self.labels == 'none':
            return None
        if batch.get('labels') is None:
            raise InputError("MoCo: labels='given', and the images have none; take labelled images, or labels='none'")
        return batch['labels']

    def context(self, x: Tensor, y: Tensor | None = None) -> MixContext:
        """Make the `MixContext` of images (N, 3, H, W) with their normalisation and the classes that are known."""
        given = self.data_preprocessor
        if isinstance(given, ImagePreprocessor):
            return MixContext(x, y, mean=given.mean, std=given.std)
        return MixContext(x, y)

    def check_batch(self, n: int) -> None:
        """Check that a batch of n images of a process fits the queue and batch norm.

        Raises:
            InputError: it does not.
        """
        check_queue(len(self.queue), n)
        if self.normalises:
            check_parts(n, self.bn_splits)

    def check_data(self, dataset: Any) -> None:
        check_queue_of_data(len(self.queue), len(dataset))

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the features (N, D) of the backbone as `embedding`."""
        return {'embedding': self.backbone(batch['inputs']), 'labels': batch.get('labels'), 'ids': batch.get('ids')}

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        if self.policy is None:
            yield from super().ways()
        else:
            yield from self.policy.ways()

    def start(self) -> None:
        if self.bn_splits > 1 and not any(isinstance(one, SplitBatchNorm) for one in self.modules()):
            raise InputError(
                f'MoCo: bn_splits is {self.bn_splits}, and no batch norm is split, such as where sync_bn replaces all; '
                'set bn_splits=1, or sync_bn=None'
            )
        self.encoder.start(self.backbone, projector=self.projector)
        if self.policy is not None:
            self.policy.start(self.online())

    def before_epoch(self, epoch: int) -> None:
        if self.policy is not None:
            self.policy.before_epoch(epoch)

    def before_step(self, step: int, steps: int) -> None:
        if self.policy is not None:
            self.policy.before_step(step, steps)

    def after_step(self) -> None:
        self.encoder.follow(self.momentum, self.backbone, projector=self.projector)
        if self.policy is not None:
            self.policy.after_step(self.online())

    @property
    def leaves_parameters_unused(self) -> bool:
        return self.policy is not None and self.policy.leaves_parameters_unused

    def online(self) -> Network:
        """Return the network that is trained, with the projector for its head."""
        return Network(self.backbone, self.projector)


def _rank(x: Tensor) -> int:
    """Return the rank of this process; 0 on the meta device, where `gather_rows` gives its own rows alone."""
    return 0 if x.is_meta else get_rank()
