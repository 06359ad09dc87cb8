"""A toy contrastive method in one file: two views, a momentum encoder, a queue of negatives, and no labels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor, nn

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.models.classifier import width_of
from openmix.ops.gather import gather_rows
from openmix.registry import METRICS, MODELS, ModelConfig, PreprocessorConfig


@MODELS.register_module()
class ToyContrast(Algorithm):
    """Distinguish the second view of an image from a queue of other images (MoCo, He et al., CVPR 2020)."""

    answers = frozenset({'embedding'})
    small = {'queue': 8}
    equal_buffers = frozenset({'queue', 'place'})

    def __init__(
        self,
        backbone: ModelConfig,
        width: int = 8,
        queue: int = 48,
        temperature: float = 0.2,
        momentum: float = 0.9,
        data_preprocessor: PreprocessorConfig | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.projector = nn.Linear(width_of(self.backbone), width)
        self.encoder = MomentumEncoder(self.backbone, projector=self.projector)
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer('queue', F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer('place', torch.zeros((), dtype=torch.int64))
        self.queue: Tensor
        self.place: Tensor

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        query, key = batch['inputs'].unbind(1)
        z = F.normalize(self.projector(self.backbone(query)).float(), dim=1)
        with torch.no_grad():
            k = F.normalize(self.encoder(key, 'projector').float(), dim=1)
        logits = torch.cat([(z * k).sum(1, keepdim=True), z @ self.queue.T], 1) / self.temperature
        self.put(k)
        hits = (logits.argmax(1) == 0).float().mean()
        return {'loss': F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64)), 'hit_rate': hits}

    @torch.no_grad()
    def put(self, keys: Tensor) -> None:
        """Replace the oldest keys in the queue by the keys (N, D) of all processes."""
        keys = gather_rows(keys)[: len(self.queue)]
        at = (self.place + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        # Not in place, because the backward pass of the loss needs the old keys.
        self.queue = self.queue.index_copy(0, at, keys)
        self.place = (self.place + len(keys)) % len(self.queue)

    def predict(self, batch: Batch) -> dict[str, Any]:
        z = F.normalize(self.projector(self.backbone(batch['inputs'])).float(), dim=1)
        return {'embedding': z, 'labels': batch['labels'], 'ids': batch['ids']}

    def start(self) -> None:
        self.encoder.start(self.backbone, projector=self.projector)

    def after_step(self) -> None:
        self.encoder.follow(self.momentum, self.backbone, projector=self.projector)


@METRICS.register_module()
class ToyNeighbour(BaseMetric):
    """`neighbour/top1`: percentage of images whose nearest neighbour has the same class."""

    default_prefix = 'neighbour'
    reads = frozenset({'embedding'})

    def process(self, data_batch: object, data_samples: list[dict[str, Any]]) -> None:
        for answer in data_samples:
            columns = (answer['ids'][:, None], answer['labels'][:, None], answer['embedding'])
            self.results.append(torch.cat([column.double() for column in columns], 1).cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        rows = {int(row[0]): row for row in torch.cat(results)}
        _, labels, *_ = (rows := torch.stack([rows[key] for key in sorted(rows)])).unbind(1)
        likeness = rows[:, 2:] @ rows[:, 2:].T
        nearest = likeness.fill_diagonal_(-2).argmax(1)
        return {'top1': (labels[nearest] == labels).double().mean().item() * 100, 'count': float(len(rows))}

    def evaluate(self, size: int) -> dict[str, float]:
        gathered = [part for parts in all_gather_object(self.results) for part in parts]
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in self.compute_metrics(gathered).items()}
