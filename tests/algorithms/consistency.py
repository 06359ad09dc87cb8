"""A toy semi-supervised method in one file: its targets for unlabelled images are running means of its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.algorithm import Algorithm, Network, logits_of
from openmix.batch import Batch
from openmix.errors import InputError
from openmix.facts import Facts
from openmix.memory import SampleMemory
from openmix.models.classifier import width_of
from openmix.registry import MODELS, HeadConfig, ModelConfig, PreprocessorConfig


@MODELS.register_module()
class ToyConsistency(Algorithm):
    """Train on labels, and train strong views of unlabelled images towards the mean prediction of their weak views."""

    answers = frozenset({'logits'})

    def __init__(
        self,
        backbone: ModelConfig,
        head: HeadConfig,
        threshold: float = 0.1,
        momentum: float = 0.5,
        data_preprocessor: PreprocessorConfig | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build({'in_features': width_of(self.backbone), **head})
        self.predicted = SampleMemory(self.head.num_classes, pool='unlabelled')
        self.threshold, self.momentum = threshold, momentum

    @classmethod
    def complete(cls, model: dict[str, Any], facts: Facts) -> None:
        super().complete(model, facts)
        model['head'].setdefault('num_classes', len(facts.classes))

    @classmethod
    def check_facts(cls, model: Mapping[str, Any], facts: Facts) -> None:
        if model['head'].get('num_classes') != len(facts.classes):
            raise InputError(f'model: head.num_classes must be {len(facts.classes)}, that of {facts.name}')

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        labelled, unlabelled = batch['labelled'], batch['unlabelled']
        weak, strong = unlabelled['inputs'].unbind(1)
        x = torch.cat([labelled['inputs'], weak, strong])
        of_labelled, of_weak, of_strong = (
            logits.float()
            for logits in self.head(self.backbone(x)).split([len(labelled['inputs']), len(weak), len(weak)])
        )
        target = self.predicted.read(unlabelled['ids']).lerp(of_weak.detach().softmax(1), 1 - self.momentum)
        self.predicted.write(unlabelled['ids'], target)
        confidence, pseudo = (target / target.sum(1, keepdim=True)).max(1)
        mask = (confidence >= self.threshold).float()
        consistency = (mask * F.cross_entropy(of_strong, pseudo, reduction='none')).mean()
        return {
            'loss_labelled': F.cross_entropy(of_labelled, labelled['labels']),
            'loss_consistency': consistency,
            'mask_rate': mask.mean(),
        }

    def predict(self, batch: Batch) -> dict[str, Any]:
        logits = logits_of(self.networks(), batch['inputs'])['']
        return {'logits': logits, 'labels': batch['labels'], 'ids': batch['ids']}

    def networks(self) -> dict[str, Network]:
        return {'': Network(self.backbone, self.head)}
