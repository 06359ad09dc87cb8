"""MoCo v2 (Chen et al., 2020), on clean and on mixed images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from openmix.algorithm import Network
from openmix.batch import Batch
from openmix.errors import InputError, check_choice
from openmix.facts import Facts
from openmix.losses.info_nce import info_nce
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.targets import Target
from openmix.models.classifier import build_policy
from openmix.models.mixing import mixed_features
from openmix.models.preprocessor import ImagePreprocessor
from openmix.models.selfsup.contrast import all_targets, check_policy, partners_of, two_views, unit
from openmix.models.selfsup.image_classes import ImageClasses, classes_of
from openmix.models.selfsup.key_queue import KeyQueue
from openmix.models.selfsup.key_targets import OF_BOTH_VIEWS, OF_OTHER_LABELS, key_targets
from openmix.models.selfsup.moco_checks import checked_weights
from openmix.models.selfsup.two_pools import TwoPools, as_one_pool, check_queue_of_pools
from openmix.models.sites import Sites
from openmix.registry import MODELS, BankConfig, ModelConfig, PolicyConfig, PreprocessorConfig


@MODELS.register_module()
class MoCo(KeyQueue):
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

    With `labels='given'` a batch may have two pools, labelled and unlabelled images. All are contrasted and mixed with
    one another; what needs classes is of the labelled ones alone: the head, and the losses of the mixer, which mix
    labelled images with labelled ones. Keys of unlabelled images are negatives of every class.

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
        labels: 'none': the policy knows no classes; 'given': it knows those of the data, as in Figure 2c; 'clusters':
            it knows those of a bank of the keys. Losses of the mixer may be of 'labels', the logits of a linear head on
            keys, which learns beside them, and of 'queue_of_other_labels', the negatives of other classes. AMix
            with both cross-entropy of clusters and BCE is AMix-C. The encoder learns from no class.
        classes: number of classes where they are given, filled in.
        bank: registry dict of the `ClusterBank` of clusters. Keys move slowly by themselves, so its momentum may be 0.

    Raises:
        InputError: an option is out of range, or the policy needs labels, or something else that is not there, or mixes
            nothing; in `loss`, the batch does not fit queue or batch norm, has other than two views, or no labels where
            they are given.
    """

    of_training = KeyQueue.of_training | {'policy', 'classes'}

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
        classes: int | None = None,
        bank: BankConfig | None = None,
    ) -> None:
        name = type(self).__name__
        check_choice(f'{name}: views', views, ('cross', 'both', 'same'))
        check_choice(f'{name}: partners', partners, ('other', 'permuted', 'reversed'))
        check_choice(f'{name}: labels', labels, ('none', 'given', 'clusters'))
        if labels != 'none' and policy is None:
            raise InputError(f'{name}: labels={labels!r} is for a policy, and there is none; leave it out')
        if negatives == 'batch' and policy is not None and views == 'both':
            raise InputError(
                f"{name}: with views='both' the batch has two keys of every image, so negatives='batch' would count "
                "one of them as a negative of the other; take negatives='queue', or views='cross'"
            )
        super().__init__(
            backbone, data_preprocessor, width, hidden, hidden_norm, queue, temperature, momentum, bn_splits, shuffle,
            negatives,
        )  # fmt: skip
        self.weights = checked_weights(name, weights, policy is not None)
        self.views, self.partners, self.labels, self.step = views, partners, labels, 0
        # Attached before the hooks of the sites, which a copy would share.
        self.register_module('policy', None)
        self.policy: MixPolicy | None
        if policy is not None:
            self.policy = build_policy(name, policy)
            offered = {'keys', 'queue'} | (OF_BOTH_VIEWS if views == 'both' else set())
            if labels != 'none':
                offered |= {'labels'} | (OF_OTHER_LABELS if negatives == 'queue' else set())
            check_policy(name, self.policy, offered)
            self.policy.attach(self.online(), self.encoder)
        policies = [] if self.policy is None else [self.policy]
        self.sites = Sites(
            self.backbone,
            {site for policy in policies for site in policy.all_sites()},
            {site for policy in policies for site in policy.attention_sites()},
        )
        self.register_module('classes', None)
        self.classes: ImageClasses | None
        targets = all_targets(self.policy)
        if (found := classes_of(name, labels, classes, bank, targets, width, queue)) is not None:
            self.classes = found
        if isinstance(self.data_preprocessor, ImagePreprocessor) and self.data_preprocessor.channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        name = type(self).__name__
        batch, labelled = as_one_pool(name, batch, self.labels)
        query, key = two_views(name, batch['inputs'])
        self.check_batch(len(query))
        site = self.policy.feature_site if self.policy is not None and self.views == 'both' else None
        embeddings, features = self.encoded(key, site)
        of_key = unit(embeddings)
        y = None if self.classes is None else self.classes.read(batch)
        losses: dict[str, Tensor] = {}
        if self.weights[0]:
            dots, columns, first = self.dots(unit(self.projector(self.backbone(query))), of_key)
            none = Mix.none(len(query), query.device)
            losses['loss'] = self.weights[0] * info_nce(dots, columns, none, self.temperature, first)
            best = dots[:, -len(self.queue) :].amax(1)
            losses['hit_rate'] = (dots.gather(1, columns[:, None])[:, 0] >= best).float().mean()
        if self.policy is not None and self.weights[1]:
            losses |= self.mixed_losses(self.policy, query, key, of_key, y, features, labelled)
        at = self.push(of_key)
        if self.classes is not None and y is not None:
            self.classes.push(y, at)
            losses |= self.classes.losses(embeddings[:labelled], y[:labelled])
            losses |= self.classes.update(batch, embeddings, self.step)
        # What a network that knows nothing has, beside a loss that begins lower with the random keys of a new queue.
        losses['chance_nats'] = torch.full((), math.log(self.choices(len(query))), device=query.device)
        return losses

    def choices(self, n: int) -> int:
        """Return the number of keys that one of a batch of n images is told from, itself among them."""
        return len(self.queue) + (1 if self.negatives == 'queue' else n * get_world_size())

    def mixed_losses(
        self,
        policy: MixPolicy,
        query: Tensor,
        key: Tensor,
        of_key: Tensor,
        y: Tensor | None = None,
        features: Tensor | None = None,
        labelled: int | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted loss of mixed images, 'mixed_loss', and those of a learned policy's mixer.

        Args:
            policy: what mixes them.
            query, key: (N, 3, H, W), two views.
            of_key: (N, P) keys of `key`.
            y: (N,) int64 classes, -1 where there are none.
            features: (N, C, h, w), those of `key` where a learned policy reads them; None: it reads none of them.
            labelled: number of first images that the mixer learns from, where others have no classes; None: all.
        """
        n, start = len(query), len(query) if self.views == 'both' else 0
        pairs = start + partners_of(self.partners, n, query.device)
        known = y if labelled is None else None
        context, positives, others = self.context(query, known), of_key, None
        if self.views == 'same':
            positives = self.keys(query)
        elif self.views == 'both':
            y = None if y is None else torch.cat([y, y])
            context = self.context(torch.cat([query, key]), y if labelled is None else None)
            of_query, of_site = self.encoded(query, None if features is None else policy.feature_site)
            of_query = unit(of_query)
            positives, others = torch.cat([of_key, of_query]), torch.cat([of_query, of_key])
            if features is not None and of_site is not None and policy.feature_site is not None:
                context.keep_features(policy.feature_site, self.encoder.backbone, torch.cat([of_site, features]))
        mixed = mixed_features(self.backbone, self.sites, policy, context, pairs)
        dots, columns, first = self.dots(unit(self.projector(mixed.features)), positives)
        losses = {'mixed_loss': self.weights[1] * info_nce(dots, columns, mixed.mix, self.temperature, first)}
        if wanted := mixed.policy.targets:
            queue = Target(lambda z: self.dots(unit(z), positives)[0], columns, {'keys': first})
            context.targets = key_targets(wanted, self.embed, positives, queue, others, y, self.classes)
            pairs = start + partners_of(self.partners, n if labelled is None else labelled, query.device)
            losses |= mixed.policy.own_losses(context, pairs)
        return losses

    def context(self, x: Tensor, y: Tensor | None = None) -> MixContext:
        """Make the `MixContext` of images (N, 3, H, W) with their normalisation and the classes that are known."""
        given, head = self.data_preprocessor, None if self.classes is None else self.classes.head
        mean, std = (given.mean, given.std) if isinstance(given, ImagePreprocessor) else (None, None)
        # What a policy asks for the saliency of classes: the network whose embeddings the head learns from.
        network = None
        if head is not None:
            network = Network(self.encoder.backbone, nn.Sequential(self.encoder.heads['projector'], head))
        return MixContext(x, y, mean=mean, std=std, network=network)

    def check_data(self, dataset: Any) -> None:
        super().check_data(dataset)
        if isinstance(dataset, TwoPools):
            check_queue_of_pools(type(self).__name__, len(self.queue), dataset)
        if self.classes is not None:
            self.classes.check_data(dataset)

    def read_data(self, dataset: Any) -> None:
        if self.classes is not None:
            # The momentum encoder starts from this network.
            self.classes.read_data(self, dataset, self.data_preprocessor, lambda x: self.projector(self.backbone(x)))

    @classmethod
    def complete(cls, model: dict[str, Any], facts: Facts) -> None:
        super().complete(model, facts)
        if model.get('labels') == 'given' and 'classes' not in model:
            model['classes'] = facts.num_classes

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        if self.policy is None:
            yield from super().ways()
        else:
            yield from self.policy.ways()

    def start(self) -> None:
        super().start()
        if self.policy is not None:
            self.policy.start(self.online())

    def before_epoch(self, epoch: int) -> None:
        if self.policy is not None:
            self.policy.before_epoch(epoch)

    def before_step(self, step: int, steps: int) -> None:
        self.step = step
        if self.policy is not None:
            self.policy.before_step(step, steps)

    def after_step(self) -> None:
        super().after_step()
        if self.policy is not None:
            self.policy.after_step(self.online())

    @property
    def leaves_parameters_unused(self) -> bool:
        return self.policy is not None and self.policy.leaves_parameters_unused

    def online(self) -> Network:
        """Return the network that is trained, with the projector for its head."""
        return Network(self.backbone, self.projector)
