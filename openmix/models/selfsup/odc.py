"""ODC, online deep clustering (Zhan et al., CVPR 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.errors import InputError, check_number
from openmix.models.classifier import width_of
from openmix.models.preprocessor import ImagePreprocessor
from openmix.models.selfsup.cluster_bank import ClusterBank, check_clusters, cluster_cross_entropy
from openmix.models.split_batch_norm import check_parts
from openmix.ops.batches import what
from openmix.registry import MODELS, ModelConfig, PreprocessorConfig


@MODELS.register_module()
class ODC(Algorithm):
    """Classify images into clusters of their own embeddings, which move a little in every step.

    Before the first step the embeddings of all images, without random transforms, are clustered by k-means. In a step
    the loss reads the labels that the bank has, and then the bank takes the new embeddings; see `ClusterBank`. The loss
    is cross-entropy, with weights of the clusters in proportion to size**-0.5, divided by the sum of the weights.

    *Differs from the released code* in where a cluster is divided in two: it begins with the first principal component
    instead of random centres, so it draws nothing.

    Args:
        backbone: registry dict of a module (N, 3, H, W) -> (N, D).
        data_preprocessor: registry dict of the preprocessor; a training batch has one view of every image.
        clusters: K, at most the training images.
        width: P, width of the embedding.
        hidden: width of the hidden layer of the projector.
        dropout: of the hidden layer, in [0, 1).
        momentum: of an embedding in the bank, the weight of the old value, in [0, 1).
        least: clusters with fewer images are dissolved; at most the mean size.
        centroids_every, small_every: iterations from one computation of the centroids, and from one look for small
            clusters, to the next.

    Raises:
        InputError: an option is out of range; before the first step, the images are too few; in `loss`, the batch has
            one image, several views or no ids.
    """

    answers = frozenset({'embedding'})
    small = {'clusters': 2, 'least': 1, 'width': 8, 'hidden': 8}
    of_training = frozenset({'bank', 'projector', 'head'})

    def __init__(
        self,
        backbone: ModelConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        clusters: int = 10000,
        width: int = 256,
        hidden: int = 512,
        dropout: float = 0.5,
        momentum: float = 0.5,
        least: int = 20,
        centroids_every: int = 10,
        small_every: int = 1,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        check_number('ODC: hidden', hidden, 1)
        check_number('ODC: dropout', dropout, 0.0, 1.0, below=True)
        try:
            self.bank = ClusterBank(clusters, width, momentum, least, centroids_every, small_every)
        except InputError as error:
            raise InputError(f'ODC: {error}') from error
        self.backbone = MODELS.build(backbone)
        self.projector = clustering_projector(width_of(self.backbone), hidden, width, dropout)
        self.head = nn.Linear(width, clusters)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.step = 0
        if isinstance(self.data_preprocessor, ImagePreprocessor) and self.data_preprocessor.channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, ids = batch.get('inputs'), batch.get('ids')
        if not isinstance(x, Tensor) or x.dim() != 4 or ids is None:
            raise InputError(
                f'ODC reads one view of every image, (N, 3, H, W), and the ids of the images, got {what(x)} and '
                f'{"no ids" if ids is None else "ids"}'
            )
        check_parts(len(x), 1)
        embeddings = self.projector(self.backbone(x))
        loss = cluster_cross_entropy(self.head(embeddings), self.bank.read(ids), self.bank.weights(ids))
        # After the loss, which reads the labels that the images had.
        changed = self.bank.update(ids, embeddings.detach())
        self.bank.maintain(self.step)
        return {'loss': loss, 'changed_share': changed}

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Compute the features (N, D) of the backbone as `embedding`."""
        return {'embedding': self.backbone(batch['inputs']), 'labels': batch.get('labels'), 'ids': batch.get('ids')}

    def check_data(self, dataset: Any) -> None:
        check_clusters('ODC', dataset, len(self.bank.centroids), self.bank.least)

    def read_data(self, dataset: Any) -> None:
        mode = self.training
        self.eval()
        self.bank.begin('ODC', dataset, self.data_preprocessor, lambda x: self.projector(self.backbone(x)))
        self.train(mode)

    def before_step(self, step: int, steps: int) -> None:
        self.step = step


def clustering_projector(features: int, hidden: int, width: int, dropout: float) -> nn.Sequential:
    """Make the projector of the released code: linear, batch norm without weights, ReLU, dropout, linear, ReLU."""
    first, last = nn.Linear(features, hidden), nn.Linear(hidden, width)
    for layer in (first, last):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    norm = nn.BatchNorm1d(hidden, momentum=0.001, affine=False)
    return nn.Sequential(first, norm, nn.ReLU(inplace=True), nn.Dropout(dropout), last, nn.ReLU(inplace=True))
