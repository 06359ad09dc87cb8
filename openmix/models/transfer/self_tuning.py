"""Self-Tuning (Wang et al., ICML 2021)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor, nn

from openmix.algorithm import HasClasses
from openmix.errors import InputError, check_choice, check_number
from openmix.losses.labels import at_least_float32
from openmix.mix import Mix
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.models.classifier import width_of
from openmix.models.semisup.base import SemiSupervised
from openmix.models.semisup.targets import PseudoLabels
from openmix.ops.class_queues import pushed
from openmix.ops.gather import gather_rows, row_counts
from openmix.ops.precision import full_precision, no_grad
from openmix.registry import MODELS


def group_contrast(query: Tensor, key: Tensor, queues: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Compute PGC, the loss that contrasts a group of keys with those of all other classes (Wang et al., 2021).

    One softmax over 1 + C D keys, an image's own and all in the queues; the loss is the mean negative log-probability
    of the image's own key and the D keys of its class, averaged over the images.

    Args:
        query: (N, P) unit vectors.
        key: (N, P) unit vectors, the key of another view of each image.
        queues: (C, D, P) unit vectors.
        classes: (N,) int64 labels or pseudo-labels.
        temperature: what the dot products are divided by.
    """
    depth = queues.shape[1]
    with full_precision(query):
        own = (query * key).sum(1, keepdim=True)
        logits = torch.cat([own, query @ queues.flatten(0, 1).T], 1) / temperature
    of_class = 1 + depth * classes[:, None] + torch.arange(depth, device=classes.device)
    group = torch.cat([logits[:, :1], logits.gather(1, of_class)], 1)
    return (logits.logsumexp(1) - group.mean(1)).mean()


@MODELS.register_module()
class SelfTuning(SemiSupervised):
    """Contrast each image with keys of its class and of all others; unlabelled images count as their likeliest class.

    The loss is CE(x, y) + weight * PGC(x, y) + unlabelled_weight * PGC(u, argmax p(u)), see `group_contrast`. The query
    is the projected feature of one view, the key that of the other view in a momentum encoder. Labelled and unlabelled
    images share the queues, which begin as random unit vectors; the labelled keys of a step are in them when its
    unlabelled images are contrasted. There is no threshold.

    Queries, keys, labelled and unlabelled images pass one after another, each as a batch of its own for batch norm.
    The momentum encoder runs in training mode, so it is normalised by its batches too. With several processes the keys
    of all are pushed, in the order of their ranks.

    *Published*: the released code moves the momentum encoder before each of its two passes (`moves='pass'`), so that
    it follows with momentum^2 a step, and passes the unlabelled queries once more, without gradient, for their
    pseudo-labels (`query_passes=2`), so that batch-norm statistics move thrice a step. It reports PGC as a divergence,
    which is less by the constant log(1 + D).

    Args:
        projector_width: P.
        projector_layers: 1: a linear layer, as in the released code; 2: linear, ReLU, linear.
        queue: D, number of keys of each class; at least the images of a pool in a batch of all processes.
        temperature: > 0.
        momentum: of the momentum encoder, the weight of the old value, in [0, 1].
        weight, unlabelled_weight: weights of both PGC losses.
        moves: when the momentum encoder moves, 'step': after every step; 'pass': before each of its two passes.
        query_passes: 1: pseudo-labels are from the pass of the queries; 2: from a pass of their own before it.
        kwargs: see `SemiSupervised`.

    Raises:
        InputError: an option is out of range, or the head does not tell its number of classes; in `losses`, a batch
            may bring more keys of a class than a queue has.
    """

    labelled_views = ('query', 'key')
    views = ('query', 'key')
    small = {'queue': 8, 'projector_width': 8}
    equal_buffers = frozenset({'queue', 'position'})
    of_training = frozenset({'queue', 'position', 'encoder', 'projector'})
    published = {'moves': 'pass', 'query_passes': 2}
    queue: Tensor
    position: Tensor

    def __init__(
        self,
        projector_width: int = 1024,
        projector_layers: int = 1,
        queue: int = 32,
        temperature: float = 0.07,
        momentum: float = 0.999,
        weight: float = 1.0,
        unlabelled_weight: float = 1.0,
        moves: str = 'step',
        query_passes: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(f'{name}: projector_width', projector_width, 1)
        check_number(f'{name}: projector_layers', projector_layers, 1, 2)
        check_number(f'{name}: queue', queue, 1)
        check_number(f'{name}: temperature', temperature, 0.0, above=True)
        check_number(f'{name}: momentum', momentum, 0.0, 1.0)
        check_number(f'{name}: weight', weight, 0.0)
        check_number(f'{name}: unlabelled_weight', unlabelled_weight, 0.0)
        check_choice(f'{name}: moves', moves, ('step', 'pass'))
        check_number(f'{name}: query_passes', query_passes, 1, 2)
        if not isinstance(self.head, HasClasses):
            raise InputError(f'{name}: {type(self.head).__name__} has no num_classes, and each class has a queue')
        self.temperature, self.momentum, self.weight = temperature, momentum, weight
        self.unlabelled_weight, self.moves, self.query_passes = unlabelled_weight, moves, query_passes
        self.projector = projector_of(width_of(self.backbone), projector_width, projector_layers)
        self.encoder = MomentumEncoder(self.backbone, projector=self.projector)
        self.register_buffer('queue', F.normalize(torch.randn(self.head.num_classes, queue, projector_width), dim=2))
        self.register_buffer('position', torch.zeros(self.head.num_classes, dtype=torch.int64))

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        self.check_queue(max(len(x), len(ids)))
        query, key = x.unbind(1)
        features = self.backbone(query)
        labelled = self.contrast(features, key, y)
        guess = None
        if self.query_passes == 2:
            with no_grad():
                guess = self.online()(views[0]).argmax(1)
        of_query = self.backbone(views[0])
        if guess is None:
            guess = self.head(of_query.detach()).argmax(1)
        unlabelled = self.contrast(of_query, views[1], guess)
        return {
            'labelled_loss': self.head.loss(self.head(features), y, Mix.none(len(y), y.device)),
            'labelled_pgc_loss': self.weight * labelled,
            'unlabelled_pgc_loss': self.unlabelled_weight * unlabelled,
        }, PseudoLabels(guess)

    def contrast(self, features: Tensor, other: Tensor, classes: Tensor) -> Tensor:
        """Compute PGC of (N, D) features, and push the keys of the other views (N, 3, H, W) to the queues."""
        query = unit(self.projector(features))
        if self.moves == 'pass':
            self.follow()
        with torch.no_grad():
            key = unit(self.encoder(other, 'projector'))
        loss = group_contrast(query, key, self.queue, classes, self.temperature)
        counts = row_counts(key)
        keys, of = gather_rows(key, counts), gather_rows(classes, counts)
        self.queue, self.position = pushed(self.queue, self.position, keys, of)
        return loss

    def check_queue(self, images: int) -> None:
        """Check that no batch can replace keys that it has pushed itself.

        Args:
            images: most images of a pool in the batch of this process.

        Raises:
            InputError: there are more images than a class has keys.
        """
        processes, depth = get_world_size(), self.queue.shape[1]
        if images * processes > depth:
            of = f'{images} images' if processes == 1 else f'{processes} x {images} images'
            raise InputError(
                f'{type(self).__name__}: queue is {depth}, and a batch of {of} may have {images * processes} of one '
                f'class; set model.queue={images * processes} or more, or a smaller batch_size'
            )

    def follow(self) -> None:
        """Move the momentum encoder towards the trained network."""
        self.encoder.follow(self.momentum, self.backbone, projector=self.projector)

    def start(self) -> None:
        super().start()
        self.encoder.start(self.backbone, projector=self.projector)

    def after_step(self) -> None:
        super().after_step()
        if self.moves == 'step':
            self.follow()


def projector_of(features: int, width: int, layers: int) -> nn.Module:
    """Make a projector of one linear layer, or two with a ReLU between them, from `features` to `width`."""
    if layers == 1:
        return nn.Linear(features, width)
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, width))


def unit(embedding: Tensor) -> Tensor:
    """Normalise (N, P) embeddings to length 1, in at least float32."""
    return F.normalize(at_least_float32(embedding), dim=1)
