"""`ClusterBank`: embeddings and cluster labels of all training images, which move during a training.

The rules are those of online deep clustering (Zhan et al., CVPR 2020, Section 3), as functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.losses.labels import at_least_float32
from openmix.memory import SampleMemory
from openmix.models.selfsup.k_means import ReadableOnce, embeddings_of_all, k_means
from openmix.ops.gather import gather_rows
from openmix.registry import MODELS


def cluster_sizes(labels: Tensor, clusters: int) -> Tensor:
    """Count the members (K,) int64 of every cluster by labels (N,) int64; no GPU sync."""
    return labels.new_zeros(clusters).index_add_(0, labels, torch.ones_like(labels))


def cluster_means(features: Tensor, labels: Tensor, old: Tensor) -> Tensor:
    """Compute the mean feature (K, P) of every cluster, which is not normalised; an empty one keeps its `old` row."""
    sizes = cluster_sizes(labels, len(old))
    # Adding rows by their labels would sum in another order each time on a GPU.
    by_label = features[labels.sort(stable=True)[1]]
    sums = torch.segment_reduce(by_label, 'sum', lengths=sizes, axis=0, unsafe=True, initial=0)
    return torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], old)


def cluster_weights(sizes: Tensor, power: float = 0.5) -> Tensor:
    """Compute loss weights (K,) in proportion to size**-power, of sum 1; an empty cluster counts as one of size 1."""
    weights = sizes.clamp(min=1).to(torch.float32) ** -power
    return weights / weights.sum()


def cluster_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Compute the mean of cross-entropy with weights of the clusters, divided by the sum of the weights.

    The sum is over the batch of all processes, so that their mean gradient is that of one process with all images.

    Args:
        logits: (N, K); any float type, computed in at least float32.
        labels: (N,) int64.
        weights: (K,), of the clusters.
    """
    nll = F.cross_entropy(at_least_float32(logits), labels, reduction='none')
    rows = weights.to(nll.dtype)[labels]
    return (rows * nll).sum() / gather_rows(rows.sum()[None], [1] * get_world_size()).mean()


def two_means(x: Tensor, iterations: int = 20) -> Tensor:
    """Divide rows (n, P) in two by k-means, n >= 2; return (n,) bool, true in the second half. Neither is empty.

    It begins with the sign of the first principal component, so it draws nothing. Rows that cannot be told apart are
    divided in turns.
    """
    centred = x - x.mean(0)
    second = centred @ torch.linalg.eigh(centred.T @ centred)[1][:, -1] > 0
    for _ in range(iterations):
        if second.all() or not second.any():
            break
        centres = torch.stack([x[~second].mean(0), x[second].mean(0)])
        before, second = second, torch.cdist(x, centres).diff(dim=1)[:, 0] < 0
        if torch.equal(before, second):
            break
    if second.all() or not second.any():
        return torch.arange(len(x), device=x.device) % 2 == 1
    return second


def renewed_clusters(features: Tensor, labels: Tensor, centroids: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Dissolve clusters of fewer than `least` members, and give each of them a half of the largest one.

    Members of a small cluster move to the nearest centroid of the others, by dot product. Then, for every emptied
    cluster in order, the largest cluster is divided by `two_means`, and the centroids of both halves are computed.
    There is one GPU sync, and several more if a cluster is small.

    Args:
        features: (N, P), of all images.
        labels: (N,) int64.
        centroids: (K, P).
        least: 1 to N / K, so that never all clusters are small.

    Returns:
        labels (N,) and centroids (K, P); the given ones if no cluster is small.
    """
    small = cluster_sizes(labels, len(centroids)) < least
    if not small.any():
        return labels, centroids
    labels, centroids = labels.clone(), centroids.clone()
    others = (~small).nonzero()[:, 0]
    members = small[labels].nonzero()[:, 0]
    labels[members] = others[(features[members] @ centroids[others].T).argmax(1)]
    for cluster in small.nonzero()[:, 0].tolist():
        sizes = cluster_sizes(labels, len(centroids)).tolist()
        largest = sizes.index(max(sizes))
        inside = (labels == largest).nonzero()[:, 0]
        second = two_means(features[inside])
        labels[inside[second]] = cluster
        centroids[largest] = features[inside[~second]].mean(0)
        centroids[cluster] = features[inside[second]].mean(0)
    return labels, centroids


def check_clusters(name: str, dataset: Any, clusters: int, least: int) -> None:
    """Check that training images can be clustered.

    Raises:
        InputError: they cannot be read without random transforms, or are too few.
    """
    if not isinstance(dataset, ReadableOnce):
        raise InputError(
            f'{name}: {type(dataset).__name__} has no unaugmented(), the images without random transforms, from which '
            'the first clusters are made; derive it from ImageDataset'
        )
    images = len(dataset)
    if images < clusters:
        raise InputError(
            f'{name}: clusters is {clusters}, and there are {images} training images; set model.clusters to at most '
            f'{images}'
        )
    if least > images // clusters:
        raise InputError(
            f'{name}: least is {least}, and {images} training images in {clusters} clusters are {images // clusters} '
            f'a cluster, so that all could be too small; set model.least to at most {images // clusters}'
        )


@MODELS.register_module()
class ClusterBank(nn.Module):
    """Embeddings and labels of all training images, and the centroids of their clusters; equal in all processes.

    All three are saved with a run and resumed.

    Args:
        clusters: K.
        width: P, width of an embedding.
        momentum: of an embedding in the bank, the weight of the old value, in [0, 1).
        least: clusters with fewer members are dissolved, see `renewed_clusters`.
        centroids_every: iterations from one computation of all centroids to the next.
        small_every: iterations from one look for small clusters to the next.

    Raises:
        InputError: an option is out of range.
    """

    small = {'clusters': 2, 'least': 1}
    equal_buffers = frozenset({'centroids'})
    of_training = frozenset({'centroids'})
    centroids: Tensor

    def __init__(
        self,
        clusters: int,
        width: int,
        momentum: float = 0.5,
        least: int = 20,
        centroids_every: int = 10,
        small_every: int = 1,
    ) -> None:
        super().__init__()
        check_number('clusters', clusters, 2)
        check_number('width', width, 1)
        check_number('momentum', momentum, 0.0, 1.0, below=True)
        check_number('least', least, 1)
        check_number('centroids_every', centroids_every, 1)
        check_number('small_every', small_every, 1)
        self.momentum, self.least = momentum, least
        self.centroids_every, self.small_every = centroids_every, small_every
        self.features, self.labels = SampleMemory(width), SampleMemory(fill=-1, dtype=torch.int64)
        self.register_buffer('centroids', torch.zeros(clusters, width))

    def begin(
        self, name: str, dataset: ReadableOnce, preprocessor: nn.Module, embed: Callable[[Tensor], Tensor]
    ) -> None:
        """Cluster all images by `k_means` of their embeddings; see `embeddings_of_all`, whose arguments they are.

        Raises:
            InputError: an image cannot be read, or there are too few different embeddings.
        """
        embeddings = embeddings_of_all(name, dataset, preprocessor, embed)
        features = F.normalize(at_least_float32(embeddings), dim=1)
        self.fill(features, k_means(name, features, len(self.centroids)))

    @torch.no_grad()
    def fill(self, embeddings: Tensor, labels: Tensor) -> None:
        """Set embeddings (N, P) and labels (N,) of all images, and the centroids; no cluster stays empty."""
        rows = self.features.rows_for(labels)
        rows.copy_(F.normalize(at_least_float32(embeddings), dim=1))
        means = cluster_means(rows, labels.to(rows.device), self.centroids)
        found, means = renewed_clusters(rows, labels.to(rows.device), means, 1)
        self.labels.rows_for(labels).copy_(found)
        self.centroids = means.to(self.centroids.dtype)

    def read(self, ids: Tensor) -> Tensor:
        """Return the labels (N,) int64 of images `ids` (N,) int64."""
        return self.labels.read(ids)

    def weights(self, ids: Tensor, power: float = 0.5) -> Tensor:
        """Compute `cluster_weights` (K,) of all images; `ids` are those of a batch, whatever they are."""
        return cluster_weights(cluster_sizes(self.labels.rows_for(ids), len(self.centroids)), power)

    @torch.no_grad()
    def update(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        """Move the embeddings of images, and label each by its moved embedding; every process calls it.

        If an image occurs twice, the later occurrence counts alone.

        Args:
            ids: (N,) int64.
            embeddings: (N, P), of any length; normalised here.

        Returns:
            scalar, the share of these images whose label changed.
        """
        new = F.normalize(at_least_float32(embeddings), dim=1).to(self.centroids.dtype)
        moved = F.normalize(self.momentum * self.features.read(ids) + (1 - self.momentum) * new, dim=1)
        labels = (moved @ self.centroids.T).argmax(1)
        changed = (labels != self.labels.read(ids)).to(moved.dtype).mean()
        self.features.write(ids, moved)
        self.labels.write(ids, labels)
        return changed

    @torch.no_grad()
    def maintain(self, iteration: int) -> None:
        """After an iteration, from 0, compute the centroids, then look for small clusters, where it is time."""
        features, labels = self.features.rows, self.labels.rows
        if features is None or labels is None:  # in the preflight
            return
        if (iteration + 1) % self.centroids_every == 0:
            self.centroids = cluster_means(features, labels, self.centroids)
        if (iteration + 1) % self.small_every == 0:
            labels, self.centroids = renewed_clusters(features, labels, self.centroids, self.least)
            self.labels.rows = labels
