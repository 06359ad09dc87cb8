"""SwAV, swapped assignments between views (Caron et al., NeurIPS 2020)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.errors import InputError, check_number
from openmix.models.classifier import width_of
from openmix.models.preprocessor import ImagePreprocessor
from openmix.models.selfsup.contrast import projector_of, unit
from openmix.models.selfsup.moco_checks import check_queue
from openmix.models.split_batch_norm import check_parts
from openmix.ops.batches import what
from openmix.ops.gather import gather_rows, row_counts
from openmix.ops.precision import full_precision
from openmix.ops.sinkhorn import sinkhorn
from openmix.registry import MODELS, ModelConfig, PreprocessorConfig


def crops_of(name: str, inputs: Any, large: int) -> list[Tensor]:
    """Return V crops (N, 3, H_v, W_v) of every image, from a list of them or from (N, V, 3, H, W).

    Raises:
        InputError: the images have another form, or there are too few crops.
    """
    crops = list(inputs.unbind(1)) if isinstance(inputs, Tensor) and inputs.dim() == 5 else inputs
    if not isinstance(crops, list) or len(crops) < max(2, large):
        raise InputError(
            f'{name} reads at least {max(2, large)} crops of every image, {large} of which are large, got '
            f'{what(inputs)}; make them with a list of pipelines in augment of the preprocessor, or with MultiView at '
            'the end of the pipeline'
        )
    return crops


def swapped_cross_entropy(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Compute the mean cross-entropy of every crop's scores towards the codes of every other, large crop.

    Args:
        scores: (V, N, K) dot products of crops with the prototypes; the large crops come first.
        codes: (L, N, K), of the large crops, rows sum to 1.
        temperature: what the scores are divided by, > 0.
    """
    log = (scores / temperature).log_softmax(2)
    total = log.sum(0)
    losses = [-(code * (total - log[crop])).sum(1).mean() for crop, code in enumerate(codes)]
    return torch.stack(losses).mean() / (len(scores) - 1)


@MODELS.register_module()
class SwAV(Algorithm):
    """Predict from each crop of an image the clusters that another, large crop of it is assigned to.

    Clusters are prototypes, unit vectors that are trained. The codes of a large crop are what `sinkhorn` assigns it to,
    together with all large crops of that place in the batch of all processes and in a queue of earlier ones; they have
    no gradient. The loss is `swapped_cross_entropy`. The queue takes the embeddings of the large crops after the
    losses, from the epoch `queue_epoch` on, and counts once it is full.

    *Differs from the released code* in how processes share the queue: there each has a part, here each has all of it,
    so that it can be resumed with any number of processes. The codes are the same.

    Args:
        backbone: registry dict of a module (N, 3, H, W) -> (N, D), for images of all sizes of crops.
        data_preprocessor: registry dict of the preprocessor; a training batch has V crops of every image, the large
            ones first.
        large: L, number of large crops, to whose codes the others are compared, 1 to V.
        prototypes: K.
        width: P, width of the embedding.
        hidden: width of the hidden layer of the projector, which has a batch norm.
        temperature: > 0.
        epsilon: of `sinkhorn`, > 0. Lower it to 0.03 where the loss stays at log K.
        iterations: of `sinkhorn`.
        queue: number of earlier images; 0, or a multiple of the images of a batch of all processes, and at most the
            training images.
        queue_epoch: first epoch whose embeddings enter the queue.
        frozen_steps: number of first iterations in which the prototypes have no gradient; weight decay changes their
            length alone, which is set to 1 before they are used.

    Raises:
        InputError: an option is out of range; in `loss`, the batch does not fit queue, batch norm or crops; before the
            first step, the queue is longer than the data.
    """

    answers = frozenset({'embedding'})
    small = {'prototypes': 4, 'width': 8, 'hidden': 8, 'queue': 8}
    equal_buffers = frozenset({'queue', 'stored'})
    of_training = frozenset({'queue', 'stored', 'projector', 'prototypes'})
    queue: Tensor
    stored: Tensor

    def __init__(
        self,
        backbone: ModelConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        large: int = 2,
        prototypes: int = 3000,
        width: int = 128,
        hidden: int = 2048,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 0,
        queue_epoch: int = 15,
        frozen_steps: int = 0,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        check_number('SwAV: large', large, 1)
        check_number('SwAV: prototypes', prototypes, 2)
        check_number('SwAV: width', width, 1)
        check_number('SwAV: hidden', hidden, 1)
        check_number('SwAV: temperature', temperature, 0.0, above=True)
        check_number('SwAV: epsilon', epsilon, 0.0, above=True)
        check_number('SwAV: iterations', iterations, 1)
        check_number('SwAV: queue', queue, 0)
        check_number('SwAV: queue_epoch', queue_epoch, 0)
        check_number('SwAV: frozen_steps', frozen_steps, 0)
        self.large, self.temperature, self.epsilon, self.iterations = large, temperature, epsilon, iterations
        self.queue_epoch, self.frozen_steps = queue_epoch, frozen_steps
        self.backbone = MODELS.build(backbone)
        self.projector = projector_of(width_of(self.backbone), hidden, width, norm=True)
        self.prototypes = nn.Linear(width, prototypes, bias=False)
        self.normalises = any(isinstance(one, _BatchNorm) for one in self.modules())
        self.register_buffer('queue', torch.zeros(queue, large, width))
        self.register_buffer('stored', torch.zeros((), dtype=torch.int64))
        self.step, self.queues = 0, True
        if isinstance(self.data_preprocessor, ImagePreprocessor) and self.data_preprocessor.channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        crops = crops_of('SwAV', batch.get('inputs'), self.large)
        self.check_batch(len(crops[0]))
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        embeddings = self.embed(crops)
        weight = self.prototypes.weight
        if self.step < self.frozen_steps:
            # In the graph with a gradient of 0, because a process waits for every parameter's.
            weight = weight.detach() + 0 * weight
        with full_precision(embeddings):
            scores = embeddings @ weight.to(embeddings.dtype).T
        counts = row_counts(embeddings[0])
        gathered = gather_rows(embeddings[: self.large].transpose(0, 1), counts)
        first = 0 if embeddings.is_meta else sum(counts[: get_rank()])
        codes = self.codes(gathered)[:, first : first + embeddings.shape[1]]
        loss = swapped_cross_entropy(scores, codes, self.temperature)
        if self.queues and len(self.queue):
            self.push(gathered)
        chance = torch.full((), math.log(len(self.prototypes.weight)), device=loss.device)
        return {'loss': loss, 'chance_nats': chance}

    def embed(self, crops: list[Tensor]) -> Tensor:
        """Compute the embeddings (V, N, P), unit vectors; consecutive crops of one size pass the backbone together."""
        groups = [list(group) for _, group in itertools.groupby(crops, lambda crop: crop.shape[-2:])]
        features = torch.cat([self.backbone(torch.cat(group)) for group in groups])
        return unit(self.projector(features)).unflatten(0, (len(crops), -1))

    @torch.no_grad()
    def codes(self, embeddings: Tensor) -> Tensor:
        """Compute the codes (L, M, K) of large crops (M, L, P) of all processes, which the queue helps to balance."""
        rows = torch.cat([self.queue.to(embeddings.dtype), embeddings])
        full = (self.stored >= len(self.queue)).expand(len(self.queue))
        counted = torch.cat([full, full.new_ones(len(embeddings))]) if len(self.queue) else None
        with full_precision(rows):
            scores = rows.transpose(0, 1) @ self.prototypes.weight.to(rows.dtype).T
        assigned = [sinkhorn(crop, self.epsilon, self.iterations, counted) for crop in scores]
        return torch.stack(assigned)[:, len(self.queue) :]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Put the embeddings (M, L, P) of all processes before those of the queue, whose last ones leave it."""
        length = len(self.queue)
        self.queue = torch.cat([embeddings.to(self.queue.dtype), self.queue])[:length]
        self.stored = (self.stored + len(embeddings)).clamp(max=length)

    def check_batch(self, n: int) -> None:
        """Check that a batch of n images of a process fits the queue and batch norm.

        Raises:
            InputError: it does not.
        """
        check_queue('SwAV', len(self.queue), n)
        if self.normalises:
            check_parts(n, 1)

    def check_data(self, dataset: Any) -> None:
        if len(self.queue) > len(dataset):
            raise InputError(
                f'SwAV: queue is {len(self.queue)}, and there are {len(dataset)} training images, so that it would '
                f'hold an image twice; set model.queue to at most {len(dataset)}'
            )

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the features (N, D) of the backbone as `embedding`."""
        return {'embedding': self.backbone(batch['inputs']), 'labels': batch.get('labels'), 'ids': batch.get('ids')}

    def before_epoch(self, epoch: int) -> None:
        self.queues = epoch >= self.queue_epoch

    def before_step(self, step: int, steps: int) -> None:
        self.step = step
