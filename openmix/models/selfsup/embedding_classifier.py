"""A classifier whose Mix Block learns from embeddings or clusters, in place of the labels that the classifier has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.batch import Batch
from openmix.errors import InputError, check_choice, check_number
from openmix.mixups.context import MixContext
from openmix.mixups.learned_mix import LearnedMix
from openmix.mixups.targets import Target
from openmix.models.classifier import MixClassifier, width_of
from openmix.models.selfsup.contrast import unit
from openmix.models.selfsup.image_classes import ImageClasses, classes_of
from openmix.models.selfsup.key_queue import dots_with, pushed
from openmix.models.selfsup.key_targets import OF_OTHER_LABELS, key_targets
from openmix.models.selfsup.moco_checks import check_queue, check_queue_of_data
from openmix.models.selfsup.shuffle import Beside
from openmix.registry import MODELS, BankConfig, HeadConfig, ModelConfig, PolicyConfig, PreprocessorConfig

_OF_QUEUE = frozenset({'queue'}) | OF_OTHER_LABELS


def _small(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the length of the queue in a smoke run, if there is one."""
    return {'queue': 8} if given.get('queue') else {}


@MODELS.register_module()
class EmbeddingMixClassifier(MixClassifier):
    """A `MixClassifier` whose learned policy may train its block by other losses than those of labels.

    The embedding of an image is the feature (N, D) of the policy's momentum encoder, of length 1; that of a clean image
    is its key. `mixer_losses` are of 'keys', 'queue', 'queue_of_other_labels' or 'labels', see `key_targets`: with
    `labels='given'` the last are those of the classifier; with `labels='clusters'` a linear head on keys tells
    the clusters, and learns beside them. The classifier itself learns from labels (Automatic Mixup, Table 1).

    *Differs from the paper*: it does not say what embeddings of supervised training are, nor how long a queue is.

    *Differs from `MixClassifier`*: clean images pass through the whole momentum encoder, so that its last batch norms
    see them too.

    Args:
        backbone, head, data_preprocessor: see `Classifier`.
        policy: registry dict of a learned policy.
        queue: number of keys of earlier images, where a loss is of them: a multiple of the images of a batch of all
            processes, and at most the training images. None: no loss is.
        labels: of the losses of the mixer: 'given', those of the data; 'clusters', those of a bank of keys.
        bank: registry dict of the `ClusterBank` of clusters.
        kwargs: see `MixClassifier`.

    Raises:
        InputError: the policy is not learned, an option does not go with its losses, or is out of range; in `loss`, the
            batch does not fit the queue, or has no labels or ids.
    """

    small: ClassVar[Any] = staticmethod(_small)
    equal_buffers = frozenset({'queue', 'position'})
    of_training = MixClassifier.of_training | {'queue', 'position', 'classes'}
    queue: Tensor | None
    position: Tensor

    def __init__(
        self,
        backbone: ModelConfig,
        head: HeadConfig,
        policy: PolicyConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        queue: int | None = None,
        labels: str = 'given',
        bank: BankConfig | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, head, policy, data_preprocessor, **kwargs)
        name = type(self).__name__
        check_choice(f'{name}: labels', labels, ('given', 'clusters'))
        if not isinstance(self.policy, LearnedMix):
            raise InputError(f'{name}: {type(self.policy).__name__} has no Mix Block to train; take MixClassifier')
        targets = self.policy.targets
        if unknown := sorted(targets - {'keys', 'labels'} - _OF_QUEUE):
            has = ', '.join(sorted({'keys', 'labels'} | _OF_QUEUE))
            raise InputError(f"{name}: mixer_losses are of '{unknown[0]}', and the targets are: {has}")
        if bool(targets & _OF_QUEUE) != (queue is not None):
            raise InputError(
                f'{name}: mixer_losses are of a queue, and there is none; set model.queue'
                if queue is None
                else f'{name}: queue is {queue}, and no loss of mixer_losses is of it; leave it out'
            )
        if labels == 'clusters' and not targets & (OF_OTHER_LABELS | {'labels'}):
            raise InputError(f"{name}: labels='clusters', and no loss of mixer_losses is of labels; leave it out")
        if queue is not None:
            check_number(f'{name}: queue', queue, 1)
        width, self.given, self.iteration = width_of(self.backbone), labels == 'given', 0
        self.register_buffer('queue', None if queue is None else F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer('position', torch.zeros((), dtype=torch.int64))
        self.register_module('classes', None)
        # The labels of the data have the classifier's head.
        read = targets - {'labels'} if self.given else targets
        found = classes_of(name, labels, None, bank, read, width, queue or 0)
        self.classes: ImageClasses | None = found if read & (OF_OTHER_LABELS | {'labels'}) else None

    @property
    def learned(self) -> LearnedMix:
        """The policy."""
        return cast(LearnedMix, self.policy)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        context = self.labelled(batch)
        if self.queue is not None:
            check_queue(type(self).__name__, len(self.queue), len(context.x))
        embeddings = self.embeddings(context)
        y = context.y if self.classes is None else self.classes.read(batch)
        assert y is not None
        keys = unit(embeddings)
        context.targets = self.targets_of(context, keys, y)
        losses = self.losses_of(context)
        if self.queue is not None:
            self.queue, self.position, at = pushed(self.queue, self.position, keys)
            if self.classes is not None:
                self.classes.push(y, at)
        if self.classes is not None:
            losses |= self.classes.losses(embeddings, y)
            losses |= self.classes.update(batch, embeddings, self.iteration)
        return losses

    @torch.no_grad()
    def embeddings(self, context: MixContext) -> Tensor:
        """Compute the embeddings (N, D), of any length, of clean images; the context keeps the block's features."""
        site, backbone = self.learned.feature_site, self.learned.encoder.backbone
        assert site is not None
        both = Beside(site, backbone, lambda features: features)
        embeddings, features = both.parts(both(context.x))
        context.keep_features(site, backbone, features)
        return embeddings

    def targets_of(self, context: MixContext, keys: Tensor, y: Tensor) -> dict[str, Target]:
        """Return the targets of the losses of the mixer, from keys (N, D) and classes (N,) of the clean images."""
        queue = self.queue
        columns = torch.arange(len(keys), device=keys.device)
        of_queue = Target(
            lambda z: dots_with(unit(z), keys, keys[:0] if queue is None else queue), columns, {'keys': len(keys)}
        )
        wanted = self.learned.targets - ({'labels'} if self.given else set())
        found = key_targets(wanted, lambda features: features, keys, of_queue, None, y, self.classes)
        if self.given and 'labels' in self.learned.targets:
            assert context.y is not None
            found['labels'] = Target(self.learned.encoder.heads['head'], context.y)
        return found

    def check_data(self, dataset: Any) -> None:
        super().check_data(dataset)
        if self.queue is not None:
            check_queue_of_data(type(self).__name__, len(self.queue), len(dataset))
        if self.classes is not None:
            self.classes.check_data(dataset)

    def read_data(self, dataset: Any) -> None:
        super().read_data(dataset)
        if self.classes is not None:
            # The momentum encoder starts from this network.
            self.classes.read_data(self, dataset, self.data_preprocessor, self.backbone)

    def before_step(self, step: int, steps: int) -> None:
        super().before_step(step, steps)
        self.iteration = step
